"""Statistics fitted once on the training images and stored with the weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from invkit.core.errors import DataError
from invkit.diffusion.networks.base import Fill
from invkit.diffusion.out_of_distribution import STATISTICS
from invkit.diffusion.residual_scale import ResidualScale
from invkit.physics.gaussian import FittedField

VERSION = 2  # of the network's inputs


@dataclass(frozen=True, eq=False)
class Constants:
    """What is fitted to the training images before the first step."""

    prior: FittedField  # of the images
    residual: FittedField  # of the residual z: mean zero, standard deviation about one
    residual_scale: ResidualScale
    reference: int  # cells along the shorter side of the finest training grid
    training_ranges: Tensor | None = None  # (4, 2): of each `out_of_distribution.statistics`; None in old checkpoints

    @property
    def closest(self) -> float | None:
        """The shortest distance from observed pixels in training, see `density.distance`; None where it is unknown."""
        if self.training_ranges is None:
            return None
        # Measured on the first of the training grids; on the finest, the same share of pixels is closer by their ratio.
        return float(self.training_ranges[3, 0]) * min(self.prior.modes.shape[2:]) / self.reference

    def tensors(self) -> dict[str, Tensor]:
        """The constants as they are stored in a checkpoint."""
        scale = self.residual_scale
        numbers = {
            "slope": self.prior.slope, "residual_slope": self.residual.slope, "reference": self.reference,
            "scale": scale.scale, "exponent": scale.exponent, "misfit": scale.loo_error, "version": VERSION,
        }  # fmt: skip
        ranges = {} if self.training_ranges is None else {"training_ranges": self.training_ranges}
        return ranges | {
            "modes": self.prior.modes,
            "color": self.prior.color,
            "residual_modes": self.residual.modes,
            **{name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()},
        }

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], fill: Fill = "gaussian") -> "Constants":
        """The constants of a checkpoint. Raises DataError if its version is no longer supported with this `model.fill`."""
        prior = FittedField(tensors["modes"], tensors["color"], float(tensors["slope"]))
        residual = FittedField(
            tensors["residual_modes"], torch.zeros_like(prior.color), float(tensors["residual_slope"])
        )
        scale = ResidualScale(float(tensors["scale"]))
        if "exponent" in tensors:  # earlier versions had none
            low, high = tensors["misfit"].tolist()
            scale = ResidualScale(scale.scale, float(tensors["exponent"]), (low, high))
        kriged = fill == "gaussian" and (
            "exponent" not in tensors or scale.loo_error != (1, 1)
        )  # only masks have a leave-one-out error
        if kriged and int(tensors.get("version", 1)) < VERSION:
            raise DataError(
                "the checkpoint is of an earlier version, whose network took the observed values as input and not their "
                "kriging weights; train again: `invkit run RECIPE --fresh`"
            )
        ranges = _ranges(tensors.get("training_ranges", tensors.get("familiar")))  # `familiar` in earlier versions
        return cls(prior, residual, scale, int(tensors["reference"]), ranges)


def _ranges(stored: Tensor | None) -> Tensor | None:
    """Training ranges of a checkpoint; earlier versions have none for the last statistic, which is left unbounded."""
    if stored is None:
        return None
    if stored.shape == (3, 2):
        stored = torch.cat([stored, stored.new_tensor([[0, torch.finfo(stored.dtype).max]])])
    if stored.shape != (len(STATISTICS), 2):
        raise ValueError(f"training_ranges is {tuple(stored.shape)}")
    return stored


@lru_cache(maxsize=8)
def _frequencies(count: int, device: torch.device) -> Tensor:
    return torch.logspace(0, 1.5, count, dtype=torch.float32, device=device) / 4


def embed(sigma: Tensor, size: int) -> Tensor:
    """Sines and cosines of ln(sigma) / 4 at geometric frequencies: (B,) to (B, size)."""
    phase = sigma.log().view(-1, 1) * _frequencies(size // 2, sigma.device)
    return torch.cat([phase.cos(), phase.sin()], 1)
