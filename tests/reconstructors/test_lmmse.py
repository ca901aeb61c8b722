from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from support.dense import conditioned
from support.evaluations import Draws
from support.messages import raises
from support.toy_operators import FIELD, Sums, toy, values
from torch import Tensor

from invkit.core.errors import RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Images
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask
from invkit.reconstructors import METHODS, Sources
from invkit.reconstructors.lmmse import RIDGE, ImageCovariance, Lmmse

CPU = torch.device("cpu")
GRID = Grid(4, 5, 2)


class Smooth(Draws):
    """Pictures of the toys' field, moved by a mean that is no constant."""

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        assert max(ids) < self.count
        return FIELD.sample(Keys.of(3, "train", list(ids)), self.grid) + torch.linspace(0, 1, self.grid.width)


def closed_form(row: Lmmse, measurement: Measurement, matrices: Tensor) -> tuple[Tensor, Tensor]:
    law = row.law(measurement.grid, CPU)
    return conditioned(law.mean, law.covariance, values(measurement), matrices, measurement.sigma)


def lmmse(count: int = 400) -> Lmmse:
    return Lmmse(lambda grid, limit: Smooth(min(count, limit), grid=grid), 10_000)


@pytest.mark.parametrize("kind", ["mask", "masks", "sums"])
@pytest.mark.parametrize("sigma", [0.0, 0.2])
def test_mean_against_the_closed_form(kind, sigma):
    measurement, matrices = toy(kind, Grid(4, 6, 2), sigma)
    row = lmmse()
    want, _ = closed_form(row, measurement, matrices)
    got = row.mean(measurement)
    torch.testing.assert_close(got.flatten(1).double(), want, rtol=0, atol=1e-4 if sigma == 0 else 1e-6)
    assert got.dtype == torch.float32


@pytest.mark.parametrize("kind", ["masks", "sums"])
def test_samples_have_the_mean_and_covariance_of_the_closed_form(kind):
    measurement, matrices = toy(kind, Grid(4, 4, 2), 0.3, batch=1)
    row, k = lmmse(), 20_000
    mean, covariance = closed_form(row, measurement, matrices)
    samples = row.sample(measurement, Keys.of(1, "s", [0]), k).view(k, -1).double()
    scale = float(covariance[0].diagonal().max())
    assert (samples.mean(0) - mean[0]).abs().max() < 5 * (scale / k) ** 0.5
    assert (torch.cov(samples.T) - covariance[0]).abs().max() < 7.5 * scale / k**0.5
    prior = row.law(measurement.grid, CPU).covariance  # the mutant: draws that are not conditioned
    assert (torch.cov(samples.T) - prior).abs().max() > 15 * scale / k**0.5


@pytest.mark.parametrize("sigma", [0.0, 0.2])
def test_pictures_are_apart_where_some_share_an_operator(sigma):
    measurement, _ = toy("sums", Grid(4, 4, 2), sigma)
    assert isinstance(measurement.operator, Sums)
    order = torch.tensor([0, 1, 0, 2])
    mixed = Measurement(
        measurement.operator[order], torch.randn(4, 12, generator=torch.Generator().manual_seed(0)), sigma
    )
    keys = Keys.of(1, "s", range(4))
    row = lmmse(50)
    whole = row.mean(mixed), row.sample(mixed, keys[:], 3)
    parts = [(row.mean(mixed[i : i + 1]), row.sample(mixed[i : i + 1], keys[i : i + 1], 3)) for i in range(4)]
    torch.testing.assert_close(whole[0], torch.cat([mean for mean, _ in parts]), rtol=0, atol=1e-5)
    torch.testing.assert_close(whole[1], torch.cat([draw for _, draw in parts], 1), rtol=0, atol=1e-5)


def test_nothing_seen_is_the_mean_and_the_law_is_fitted_once():
    opened = []

    def training(grid: Grid, limit: int) -> Images:
        opened.append((grid, limit))
        return Draws(40, grid=grid)

    row, grid = Lmmse(training, 30), Grid(4, 4)
    nothing = Measurement(Mask(torch.zeros(2, 1, 4, 4, dtype=torch.bool)), torch.zeros(2, 3, 4, 4))
    want = Draws(30, grid=grid)[range(30)].mean(0)
    torch.testing.assert_close(row.mean(nothing), want.expand(2, -1, -1, -1))
    assert row.sample(nothing, Keys.of(0, "s", range(2)), 2).std() > 0.1
    assert opened == [(grid, 30)]


def test_what_it_cannot_do_it_says_at_once():
    method, sources = METHODS["lmmse"](), Sources(None, None)
    with raises(RecipeError, "eval.methods", "lmmse"):
        method.build(sources)
    sources = replace(sources, training=lambda grid, limit: Draws(9, grid=grid))
    with raises(RecipeError, "eval.methods", "lmmse", 3072, "33x32", 3168, "eval.grids"):
        method.build(replace(sources, grids=(Grid(32, 32), Grid(33, 32))))
    assert method.build(replace(sources, grids=(Grid(32, 32),))).nfe("sample") == 0


def draws(count: int, grid: Grid = GRID) -> torch.Tensor:
    """Draws that are rougher to the right, so that cosine modes are not independent."""
    return FIELD.sample(Keys.of(0, "draws", range(count)), grid) * torch.linspace(0, 2, grid.width)


def published(x: np.ndarray, groups: list[str]) -> tuple[np.ndarray, float]:
    """The shrunk covariance in cosine modes and its intensity, from one matrix for each group."""
    count, (c, h, w) = len(x), x.shape[1:]
    a = dctn(x - x.mean(0), axes=(2, 3), norm="ortho").reshape(count, -1)
    same = np.kron(np.ones((c, c)), np.eye(h * w)) > 0  # values of one mode
    s = a.T @ a / count
    variance = np.zeros_like(s)
    for name in set(groups):
        rows = a[[g == name for g in groups]]
        variance += (rows.T @ rows - len(rows) * s) ** 2 / count**2
    intensity = min(1.0, variance[~same].sum() / (s[~same] ** 2).sum())
    return np.where(same, s, (1 - intensity) * s), intensity


@pytest.mark.parametrize("size", [1, 3])
def test_against_the_published_formula(size):
    x = draws(60) + torch.linspace(0, 1, 5)  # a mean that is no constant
    groups = [f"photograph {i // size}" for i in range(60)]
    law = ImageCovariance.fit(x, groups)
    want, intensity = published(x.double().numpy(), groups)
    assert law.intensity == pytest.approx(intensity, rel=1e-4)
    assert 0.05 < intensity < 1
    got = law.covariance.view(40, 2, 4, 5).numpy()
    got = dctn(dctn(got, axes=(2, 3), norm="ortho").reshape(40, 40).T.reshape(40, 2, 4, 5), axes=(2, 3), norm="ortho")
    np.testing.assert_allclose(got.reshape(40, 40), want + RIDGE * np.eye(40), atol=1e-5)
    torch.testing.assert_close(law.mean, x.double().mean(0).flatten())
    torch.testing.assert_close(law.root @ law.root.T, law.covariance)


def test_pictures_shown_four_times_say_no_more_than_once():
    x = draws(30)
    names = [str(i) for i in range(30)]
    once = ImageCovariance.fit(x, names)
    often = ImageCovariance.fit(x.repeat(4, 1, 1, 1), names * 4)
    assert often.intensity == pytest.approx(once.intensity, rel=1e-4)
    torch.testing.assert_close(often.covariance, once.covariance, rtol=0, atol=1e-6)
    forgotten = ImageCovariance.fit(x.repeat(4, 1, 1, 1), [str(i) for i in range(120)])
    assert forgotten.intensity < 0.5 * once.intensity


def test_few_pictures_lean_on_the_field_and_many_need_none():
    grid = Grid(4, 4, 1)
    truth = torch.tensor(np.diag(1.0 / np.arange(1, 17))).float()  # not diagonal in the cosine modes
    z = Keys.of(0, "z", range(4_000)).normal("z", 16)
    x = (z @ truth.sqrt()).view(-1, *grid.picture)
    few, many = (ImageCovariance.fit(x[:n], [str(i) for i in range(n)]) for n in (20, 4_000))
    assert few.intensity > 0.3
    assert many.intensity < 0.1
    torch.testing.assert_close(many.covariance.float(), truth, rtol=0, atol=0.06)
    plain = torch.cov(x[:20].view(20, -1).T, correction=0)
    assert (few.covariance.float() - truth).norm() < (plain - truth).norm()


def test_pictures_without_colour_have_a_covariance_with_an_inverse():
    x = draws(10, Grid(4, 4, 1)).expand(-1, 3, -1, -1)
    assert ImageCovariance.fit(x, [str(i) for i in range(10)]).root.isfinite().all()
