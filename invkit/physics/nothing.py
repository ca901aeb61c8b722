"""The degradation that observes nothing: what is learned from it is the law of the pictures alone."""

import torch

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.degradation import Degradation
from invkit.physics.operators.base import LinearOperator, Mask


class Nothing(Degradation):
    """Observe no pixel at all: the posterior is the prior, for zero-shot methods that bring the measurement in later."""

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        return Mask(torch.zeros(len(keys), 1, *grid.shape, dtype=torch.bool, device=keys.state.device), grid.channels)
