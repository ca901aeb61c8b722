"""Kriging from points at exact coordinates, against matrices of the covariance function."""

import math

import pytest
import torch

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import Achromatic, MaternField, SquaredExponentialField
from invkit.physics.gaussian import points as module
from invkit.physics.gaussian.kriging import NUGGET
from invkit.physics.gaussian.points import exact, on_cells, unresolved
from invkit.physics.operators.points import PointValues
from invkit.physics.points import bin_points, measure_points

GRID = Grid(10, 14, 2)
FIELD = MaternField(std=0.5, length=0.4, color=0.3)
AT = Keys.of(0, "at", [0, 1]).uniform("at", 25, 2).double()
VALUES = Keys.of(0, "values", [0, 1]).normal("v", 25, 2).double() * 0.4


def functions(at):
    """The basis of the field at positions (N, 2), as functions of the continuous coordinates: (N, modes)."""

    def axis(u, n):
        k = torch.arange(n, dtype=torch.float64)
        return torch.cos(math.pi * k * u[:, None]) * torch.where(k == 0, 1.0, 2.0).double().sqrt()

    rows, columns = axis(at[:, 1], GRID.height), axis(at[:, 0], GRID.width)
    return (rows[:, :, None] * columns[:, None]).flatten(1)


def closed_form(i, sigma):
    """Mean (cells, C), covariance and gain of the cells given the points of image i: `f = sum_k a_k f_k`, `a_k ~ N(0, c_k)`."""
    height, width = GRID.extent
    spectrum = FIELD.spectrum(GRID).diagonal().mean(-1).flatten() / (height * width)
    rows, columns = torch.meshgrid(
        *((torch.arange(n, dtype=torch.float64) + 0.5) / n for n in GRID.shape), indexing="ij"
    )
    points, cells = functions(AT[i]), functions(torch.stack([columns.flatten(), rows.flatten()], 1))
    pp, pc, cc = ((a * spectrum) @ b.T for a, b in ((points, points), (points, cells), (cells, cells)))
    single = Grid(10, 14, 1)
    field = Achromatic(FIELD, 2)
    detail = max(unresolved(field, single), NUGGET * field.pixel_std(single) ** 2)
    gain = torch.linalg.solve(pp + (sigma**2 + detail) * torch.eye(25).double(), pc).T
    return gain @ VALUES[i], cc - gain @ pc, gain


def test_cells_have_the_posterior_mean_given_points_at_exact_coordinates():
    m = measure_points(AT, VALUES, GRID)
    cells = on_cells(FIELD, m)
    assert torch.equal(cells.observed, bin_points(AT, VALUES, GRID, 0.0).observed)
    for i in (0, 1):
        want = closed_form(i, 0.0)[0].T.view(2, 10, 14) * cells.observed[i]
        torch.testing.assert_close(cells.y[i].double(), want, atol=1e-5, rtol=0)


def test_samples_of_the_cells_have_the_posterior_covariance():
    m = measure_points(AT[:1], VALUES[:1], GRID)
    drawn = on_cells(FIELD, m, Keys.of(0, "draw", [7]), 4000)
    seen = drawn.observed[0, 0].flatten()
    found = drawn.y[:, 1].flatten(1)[:, seen].double()
    mean, covariance, _ = closed_form(0, 0.0)
    covariance = covariance[seen][:, seen]
    spread = covariance.diagonal().sqrt()
    assert ((found.mean(0) - mean[seen, 1]) / spread * 4000**0.5).abs().max() < 4.5
    deviations = (found - mean[seen, 1]) / spread
    want = covariance / spread / spread[:, None]
    assert (deviations.T @ deviations / 4000 - want).abs().max() < 0.12
    again = on_cells(FIELD, m, Keys.of(0, "draw", [7]), 3)
    torch.testing.assert_close(again.y, drawn.y[:3])  # fewer draws are the first ones


@pytest.mark.parametrize("sigma", [0.2])
def test_with_noise_a_cell_keeps_the_noise_of_its_points(sigma):
    """The value of a cell is `f(cell) + noise`: the noise is what the points have beyond the field at their own coordinates."""
    m = measure_points(AT[:1], VALUES[:1], GRID, sigma)
    cells = on_cells(FIELD, m)
    assert cells.sigma == sigma
    mean, _, _ = closed_form(0, sigma)
    single, field = Grid(10, 14, 1), Achromatic(FIELD, 2)
    detail = max(unresolved(field, single), NUGGET * field.pixel_std(single) ** 2)
    at_points = m.operator.matrix[0] @ mean
    noise = (VALUES[0] - at_points) * sigma**2 / (sigma**2 + detail)
    binned = bin_points(AT[:1], noise[None], GRID, sigma).y[0]
    want = (mean.T.view(2, 10, 14) + binned) * cells.observed[0]
    torch.testing.assert_close(cells.y[0].double(), want, atol=1e-5, rtol=0)


def test_the_variance_beyond_the_band():
    """A field that the grid resolves has none; the modes of the finer grids are summed."""
    assert unresolved(SquaredExponentialField(std=0.5, length=0.4), Grid(16, 16, 1)) < 1e-9
    rough, grid = MaternField(std=0.5, length=0.1), Grid(16, 16, 1)
    k = torch.arange(64, dtype=torch.float64)
    power = rough.density((math.pi * torch.stack(torch.meshgrid(k, k, indexing="ij"))).square().sum(0))
    assert unresolved(rough, grid) == pytest.approx(float(power.sum() - power[:16, :16].sum()), rel=1e-9)


def test_too_many_points_belong_to_their_cells(monkeypatch):
    m = measure_points(AT, VALUES, GRID)
    assert exact(m) and isinstance(m.operator, PointValues)
    monkeypatch.setattr(module, "ENTRIES", 25 * 140 - 1)
    assert not exact(m)
    want = bin_points(AT, VALUES, GRID, 0.0).y
    torch.testing.assert_close(on_cells(FIELD, m).y, want)
    torch.testing.assert_close(on_cells(FIELD, m, Keys.of(0, "k", [0, 1]), 2).y, torch.cat([want, want]))


def test_smooth_fields_are_recovered_between_the_centres():
    """Values of a smooth field at 60 points: the error of the cells is far below that of moving points to the centres."""
    field, grid = SquaredExponentialField(std=0.5, length=0.15), Grid(12, 12, 1)
    fine = Grid(12 * 27, 12 * 27, 1)
    x = field.sample(Keys.of(1, "x", range(4)), fine).double()
    at = Keys.of(1, "at", range(4)).uniform("at", 60, 2).double()
    values = PointValues(fine, at).forward(x).movedim(1, 2)
    truth = x[:, :, 13::27, 13::27]
    cells, moved = on_cells(field, measure_points(at, values, grid)), bin_points(at, values, grid, 0.0)
    seen = cells.observed
    error, before = (float((m.y - truth)[seen].square().mean().sqrt()) for m in (cells, moved))
    assert error < 0.2 * before
