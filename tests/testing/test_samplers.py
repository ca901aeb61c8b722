"""Samplers that ship conform; each mutant is caught by the check meant for it."""

import pytest
import torch
from support.broken_samplers import HalfDrift, Loud

from invkit.diffusion.samplers import Denoising, EulerMaruyama, Heun
from invkit.plugins.loader import registry
from invkit.testing import check_sampler
from invkit.testing.samplers import CHECKS, Subject

SLOW = {"langevin"}  # many calls in each step


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in sorted(registry().names("sampler"))]
)
def test_what_ships_passes(name):
    check_sampler(registry().get("sampler", name), name).raise_for_failures()


class OneCall(Heun):
    def calls(self, steps):
        return steps


class SameLabel(Denoising):
    def walk(self, denoise, noise, levels, x):
        return super().walk(denoise, lambda label: noise("step"), levels, x)


class Single(EulerMaruyama):
    def walk(self, denoise, noise, levels, x):
        return super().walk(denoise, noise, levels, x).float()


class Global(EulerMaruyama):
    def walk(self, denoise, noise, levels, x):
        return super().walk(denoise, lambda label: torch.randn_like(x), levels, x)


class InPlace(EulerMaruyama):
    def walk(self, denoise, noise, levels, x):
        return super().walk(denoise, noise, levels, x.mul_(1 + 1e-6))


class Mean(Heun):
    def walk(self, denoise, noise, levels, x):
        ahead = super().walk(denoise, noise, levels, x)
        return ahead + 0.001 * ahead.mean(0)


class Claims(EulerMaruyama):
    order = 2


class Shifted(Heun):
    """Right in the limit, but of first order: the denoiser is asked at the level of the step's end."""

    def walk(self, denoise, noise, levels, x):
        ratio = float(levels[1] / levels[0])
        return super().walk(lambda z, s: denoise(z, s * ratio**0.1), noise, levels, x)


class Adaptive(EulerMaruyama):
    """Steps that are not affine in the noise."""

    def walk(self, denoise, noise, levels, x):
        return super().walk(lambda z, s: denoise(z, s) + 1e-4 * denoise(z, s).sin(), noise, levels, x)

    def calls(self, steps):
        return 2 * steps


MUTANTS = [(OneCall, "calls"), (SameLabel, "calls"), (Single, "shapes"), (Global, "purity"), (InPlace, "purity"),
           (Mean, "batch"), (Loud, "posterior"), (HalfDrift, "posterior"), (Claims, "order"), (Shifted, "order")]  # fmt: skip


@pytest.mark.parametrize(("mutant", "caught_by"), MUTANTS)
def test_a_mutant_is_caught_by_what_is_meant_for_it(mutant, caught_by):
    assert not CHECKS[caught_by](Subject((mutant(),))).passed


def test_every_check_has_a_mutant():
    assert {caught_by for _, caught_by in MUTANTS} == set(CHECKS)


def test_the_order_of_steps_that_are_not_affine_is_not_measured():
    report = check_sampler(Adaptive)
    assert report.passed and [check.name for check in report.checks if check.skipped] == ["order"]
