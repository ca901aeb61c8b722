"""Posteriors on a 2x2 grid by quadrature over all images."""

import torch

from invkit.core.grid import Grid
from invkit.physics.gaussian import MaternField

GRID = Grid(2, 2, 1)
FIELD = MaternField(std=0.5, length=0.5, exponent=2.0)
POINTS, REACH = 25, 3.6  # along each axis of the whitened image, and standard deviations


def moments(measurement):
    """Mean and standard deviation (4,) of the posterior of images of `FIELD` given one measurement."""
    eye = torch.eye(4, dtype=torch.float64).view(4, 1, 2, 2)
    root = torch.linalg.cholesky(FIELD.covariance(eye, GRID).flatten(1))
    axis = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis, axis, axis)
    x = (z @ root.T + FIELD.mean(GRID)).view(-1, 1, 2, 2)
    many = measurement.repeat(len(x))
    log = many.log_likelihood(many.operator.forward(x)) - z.square().sum(1) / 2
    weights, flat = log.softmax(0), x.flatten(1)
    mean = weights @ flat
    return mean, (weights @ (flat - mean).square()).sqrt()


def prior_moments():
    eye = torch.eye(4, dtype=torch.float64).view(4, 1, 2, 2)
    return FIELD.mean(GRID).expand(4), FIELD.covariance(eye, GRID).flatten(1).diagonal().sqrt()
