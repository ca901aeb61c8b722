"""Priors that ship conform; each mutant is caught by the check meant for it."""

import pytest
import torch

from invkit.core.grid import Grid
from invkit.reconstructors.zeroshot import PRIORS, DenoiserPrior, FieldPrior, ImagePrior
from invkit.reconstructors.zeroshot.priors import white
from invkit.testing import check_prior
from invkit.testing.priors import CHECKS, trial_of
from invkit.testing.report import guarded


@pytest.mark.parametrize("name", ["gaussian", "oracle"])
def test_what_ships_passes(name):
    check_prior(PRIORS[name], name).raise_for_failures()


class Linear(ImagePrior):
    """A sound denoiser, the linear one of the photographs, which mutants spoil."""

    def build(self, sources):
        linear = white(FieldPrior, sources, sources.model.prior)
        return self.prior.of(sources, lambda x, std: self.denoise(linear, x, std / linear.noise_std(_grid(x))))

    def denoise(self, linear, x, sigma):
        return linear.denoise(x, sigma)

    @property
    def prior(self):
        return DenoiserPrior


def _grid(x):
    return Grid(x.shape[2], x.shape[3], x.shape[1])


class Brighter(Linear):
    def denoise(self, linear, x, sigma):
        return linear.denoise((x + 1) / 2, sigma)


class Deaf(Linear):
    def denoise(self, linear, x, sigma):
        return linear.denoise(x, 1 / sigma)


class Idle(Linear):
    def denoise(self, linear, x, sigma):
        return x * 1.0


class Detached(Linear):
    def denoise(self, linear, x, sigma):
        return linear.denoise(x.detach(), sigma)


class Random(Linear):
    def denoise(self, linear, x, sigma):
        return linear.denoise(x + 0.01 * torch.rand_like(x), sigma)


class Centred(Linear):
    def denoise(self, linear, x, sigma):
        return linear.denoise(x - 0.1 * x.mean(0), sigma)


class Few(Linear):
    def denoise(self, linear, x, sigma):
        return linear.denoise(x, sigma)[:, :, 1:]


class Twice(DenoiserPrior):
    def covariance(self, x):
        return 2 * super().covariance(x)


class Loud(Linear):
    @property
    def prior(self):
        return Twice


def test_a_sound_one_passes():
    check_prior(Linear).raise_for_failures()


MUTANTS = [(Few, "shapes"), (Loud, "noise"), (Detached, "gradients"), (Random, "purity"), (Centred, "batch"), (Deaf, "error"),
           (Idle, "error"), (Brighter, "bias")]  # fmt: skip


@pytest.mark.parametrize(("mutant", "caught_by"), MUTANTS)
def test_a_mutant_is_caught_by_what_is_meant_for_it(mutant, caught_by):
    if caught_by == "shapes":  # before any other check
        assert check_prior(mutant).failed == ("shapes",)
    else:
        assert not guarded(caught_by, CHECKS[caught_by], trial_of(mutant())).passed


def test_every_check_has_a_mutant():
    assert {caught_by for _, caught_by in MUTANTS} == set(CHECKS)
