"""The degradation that observes nothing: what is learned from it is the law of the pictures alone."""

import torch

from invkit.degradation import Degradation
from invkit.grid import Grid
from invkit.keys import Keys
from invkit.operators import LinearOperator, Mask


class Nothing(Degradation):
    """Observe no pixel at all: the posterior is the prior, for zero-shot methods that bring the measurement in later."""

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        return Mask(torch.zeros(len(keys), 1, *grid.shape, dtype=torch.bool, device=keys.state.device), grid.channels)
