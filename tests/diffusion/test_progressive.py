"""Sampling from coarse to fine grids, against the closed-form posterior of a Gaussian field."""

from itertools import pairwise

import pytest
import torch
from support.exact_posterior import FIELD, NOISES, Exact

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion.progressive import handover, sample_progressively
from invkit.diffusion.samplers import Dpmpp2M
from invkit.diffusion.schedules import EdmSchedule
from invkit.physics.gaussian import dct, idct, resample

LEVELS = EdmSchedule(sigma_min=1e-3, sigma_max=1e4).levels


GRID = Grid(16, 16, 1)


def progressive(method, exact, levels, noise, grids):
    """The exact denoiser of the coarse modes: that of the fine ones with the others marginalised, that is at their noise."""

    def denoise(grid):
        def coarse(x, sigma):
            up = resample(x, exact.grid.shape)
            fresh = idct(_outside(dct(noise("pad")(exact.grid)), grid)) * sigma
            return resample(exact.denoise(up + fresh, sigma), grid.shape)

        return exact.denoise if grid == exact.grid else coarse

    limits = [handover(a, b, exact.data, exact.noise) for a, b in pairwise(grids)]
    return sample_progressively(method, grids, denoise, lambda g: lambda label: noise(label)(g), levels, limits)


def _outside(modes, grid):
    modes = modes.clone()
    modes[..., : grid.height, : grid.width] = 0
    return modes


@pytest.mark.parametrize("noise", sorted(NOISES))
def test_progressive_sampling_reaches_the_same_law(noise):
    """Monte Carlo: mean and variance of 2,000 draws refined from 8 to 16 cells."""
    exact, count = Exact.of(GRID, NOISES[noise]), 2000
    keys = Keys.of(0, "progressive", range(count))
    used = iter(range(10**6))

    def draw(label):
        return lambda grid: exact.noise.sample(keys.child(f"{label}{next(used)}"), grid).double()

    x = progressive(Dpmpp2M(), exact, LEVELS(96), draw, [Grid(8, 8, 1), GRID]).flatten(1)
    mean, covariance = exact.posterior()
    spread = covariance.diagonal().sqrt()
    z = (x.mean(0) - mean) / spread
    assert (
        float(z.square().mean().sqrt()) < 0.06
    )  # left out on the way: a ninth of the power of modes that are noise by then
    assert float(x.var(0).sum() / covariance.diagonal().sum()) == pytest.approx(1, abs=0.05)


def test_handover_is_where_the_new_modes_are_noise():
    coarse, fine = Grid(8, 8, 1), GRID
    level = handover(coarse, fine, FIELD, NOISES["white"])
    c, l = (f.spectrum(fine)[0, 0] for f in (FIELD, NOISES["white"]))
    outside = torch.ones(16, 16, dtype=torch.bool)
    outside[:8, :8] = False
    assert float((c / (level**2 * l))[outside].max()) == pytest.approx(1 / 9)
