"""Least squares and ridge regression by conjugate gradients, for any linear operator."""

import torch
from torch import Tensor

from invkit.physics.operators.base import LinearOperator


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of the members of two batches: (B,)."""
    return (a * b).flatten(1).sum(1)


def times(scale: Tensor, t: Tensor) -> Tensor:
    """Each member of a batch times its own number (B,)."""
    return scale.view(-1, *[1] * (t.ndim - 1)) * t


def least_squares(
    operator: LinearOperator,
    y: Tensor,  # (B, *range_shape)
    tolerance: float = 1e-6,
    max_steps: int = 100,
    damping: float = 0.0,
) -> Tensor:
    """`A+ y` (B, C, H, W) by conjugate gradients on `A* A x = A* y` (CGLS: Hestenes & Stiefel 1952), from zero.

    With damping, `(A^T A + damping)^-1 A^T y`, the minimiser of `|A x - y|^2 + damping |x|^2` (unweighted norms). The iteration
    for an image stops, independently of its batch, when its residual r = y - A x has `|r| <= tolerance |y|` or
    `|A* r| <= tolerance |A| |r|`, where `|A|` is the largest `|A p| / |p|` of the search directions p so far, or after `max_steps`.
    """
    weight = operator.grid.area / operator.range_weight  # ratio of squared norms: images over measurements
    ridge = damping / weight  # added to A* A
    residual, gradient = y, operator.adjoint(y)
    x, direction = torch.zeros_like(gradient), gradient
    rho, start = dot(gradient, gradient), dot(y, y)
    norm = torch.zeros_like(rho)  # the largest |A p|^2 / |p|^2 so far
    going = rho > 0
    for _ in range(max_steps):
        if not bool(going.any()):
            break
        image = operator.forward(direction)
        length = dot(image, image) / weight + ridge * dot(direction, direction)
        norm = torch.maximum(norm, length / dot(direction, direction).clamp(min=1e-30))
        step = torch.where(going, rho / length.clamp(min=1e-30), 0)
        x, residual = x + times(step, direction), residual - times(step, image)
        gradient = operator.adjoint(residual) - ridge * x
        new, left = dot(gradient, gradient), dot(residual, residual)
        going = going & (new * weight > tolerance**2 * norm * left) & (left > tolerance**2 * start)
        direction = gradient + times(torch.where(going, new / rho.clamp(min=1e-30), 0), direction)
        rho = new
    return x


TOLERANCE = 1e-3  # of the iterative solution


def ridge(
    operator: LinearOperator,
    r: Tensor,  # (B, *range_shape)
    damping: float,
) -> Tensor:
    """`A^T (A A^T + damping)^-1 r` (B, C, H, W), the minimiser of `|A u - r|^2 + damping |u|^2`.

    Without damping it is `A^+ r`. In closed form where the operator has `spectral`, else by conjugate gradients.
    """
    if damping == 0:
        return operator.pinv(r)
    found = operator.spectral(lambda s: s.square() / (s.square() + damping), operator.pinv(r))
    return least_squares(operator, r, TOLERANCE, damping=damping) if found is None else found
