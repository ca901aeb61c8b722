"""Noise laws that ship conform; each mutant is caught by the check meant for it."""

import pytest
import torch

from invkit.physics.noise import Noise
from invkit.plugins.loader import registry
from invkit.testing import check_noise
from invkit.testing.noises import CHECKS


@pytest.mark.parametrize("name", sorted(registry().names("noise")))
def test_what_ships_passes(name):
    check_noise(registry().names("noise")[name], name).raise_for_failures()


class Loud(Noise):
    def variance(self, clean):
        return super().variance(clean) * 1.2


class Sharp(Noise):
    def log_likelihood(self, y, clean):
        return 1.5 * super().log_likelihood(y, clean)


class Shifted(Noise):
    def log_likelihood(self, y, clean):
        return super().log_likelihood(y - 0.1, clean)


class Global(Noise):
    def sample(self, keys, clean):
        return clean + self.sigma * torch.randn(clean.shape, dtype=clean.dtype)


class Shared(Noise):
    def sample(self, keys, clean):
        return clean + self.sigma * keys[:1].normal("noise", *clean.shape).to(clean)[0]


class Single(Noise):
    def variance(self, clean):
        return super().variance(clean).float()


MUTANTS = [(Loud, "variance"), (Sharp, "likelihood"), (Shifted, "likelihood"), (Global, "purity"), (Shared, "batch"),
           (Single, "shapes")]  # fmt: skip


@pytest.mark.parametrize(("mutant", "caught_by"), MUTANTS)
def test_a_mutant_is_caught_by_what_is_meant_for_it(mutant, caught_by):
    assert caught_by in check_noise(mutant(sigma=0.2)).failed


def test_every_check_has_a_mutant():
    assert {caught_by for _, caught_by in MUTANTS} == set(CHECKS)
