"""Networks that ship conform; each mutant is caught by the check meant for it."""

import pytest
import torch
from torch import nn

from invkit.diffusion.networks import NETWORKS
from invkit.testing import check_network
from invkit.testing.networks import CHECKS, Subject
from invkit.testing.report import guarded
from invkit.testing.trials import fixed_random_state

SMALL = {"channels": 8, "mult": (1,), "blocks": 1, "embedding": 8}


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_what_ships_passes(name):
    check_network(NETWORKS[name](**SMALL, dropout=0.2), name).raise_for_failures()


class Wrapped(nn.Module):
    """A network, spoilt by a function of the network and its arguments."""

    def __init__(self, inner, spoil):
        super().__init__()
        self.inner, self.spoil, self.norm = inner, spoil, nn.BatchNorm2d(11, affine=False)

    def forward(self, x, e, seed):
        return self.spoil(self, x, e, seed)


def spoilt(forward=lambda net, x, e, seed: net.inner(x, e, seed), **others):
    """The settings of a U-Net with another `forward`, or other methods."""

    class Spoilt(NETWORKS["unet"]):
        def build(self, in_channels, out_channels):
            return Wrapped(super().build(in_channels, out_channels), forward)

    return type("Spoilt", (Spoilt,), others)(**SMALL)


def half(net, x, e, seed):
    """Keeps all values in bfloat16 where it is asked for it, also those that need float32."""
    return net.inner(x, e, seed) * (float("inf") if torch.is_autocast_enabled("cpu") else 1)


MUTANTS = {
    "one at first": (spoilt(lambda net, x, e, seed: 1 + net.inner(x, e, seed)), "zero"),
    "even grids": (spoilt(lambda net, x, e, seed: net.inner(x, e, seed).unfold(3, 2, 2).flatten(3)), "grids"),
    "no grid": (spoilt(working=lambda self, grid, reference, zoom=1.0: (grid.height / 2, grid.width)), "grids"),
    "odd embedding": (spoilt(embedding_size=property(lambda self: 7)), "grids"),
    "no level": (spoilt(lambda net, x, e, seed: net.inner(x, 0 * e, seed)), "level"),
    "random": (spoilt(lambda net, x, e, seed: net.inner(x + 0.1 * torch.randn(x.shape), e, seed)), "purity"),
    "in place": (spoilt(lambda net, x, e, seed: net.inner(x.mul_(0.9), e, seed)), "purity"),
    "batch norm": (spoilt(lambda net, x, e, seed: net.inner(net.norm(x) if x.shape[1] == 11 else x, e, seed)), "batch"),
    "detached": (spoilt(lambda net, x, e, seed: net.inner(x.detach(), e, seed)), "gradients"),
    "frozen": (spoilt(lambda net, x, e, seed: net.inner(x, e.detach(), seed).detach() + 0 * x[:, :3]), "gradients"),
    "overflows": (spoilt(half), "bfloat16"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught_by_what_is_meant_for_it(name):
    mutant, caught_by = MUTANTS[name]
    with fixed_random_state():
        check = guarded(caught_by, CHECKS[caught_by], Subject(mutant))
    assert not check.passed


def test_every_check_has_a_mutant():
    assert {caught_by for _, caught_by in MUTANTS.values()} == set(CHECKS)
