"""Statistics fitted once on the training images and stored with the weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.core.errors import DataError
from invkit.diffusion.networks.base import Fill
from invkit.diffusion.out_of_distribution import STATISTICS
from invkit.diffusion.residual_scale import Unit
from invkit.physics.gaussian import FittedField

VERSION = 2  # of what the network is told


@dataclass(frozen=True, eq=False)
class Constants:
    """What is measured on the training pictures before the first step and travels with the weights."""

    prior: FittedField  # law of the pictures
    residual: FittedField  # law of the residual z in its units: mean zero, deviation about one
    unit: Unit  # of the residual, by the fill's misfit
    reference: int  # cells along the shorter side of the finest grid trained on
    # (4, 2): range of each of `familiar.statistics` in training; None, or without bounds on the last, of earlier versions
    familiar: Tensor | None = None

    @property
    def closest(self) -> float | None:
        """The shortest distance from observed pixels in training, see `density.distance`; None where it is unknown."""
        if self.familiar is None:
            return None
        # Measured on the first of the training grids; on the finest a share of the pixels is as much closer.
        return float(self.familiar[3, 0]) * min(self.prior.modes.shape[2:]) / self.reference

    def tensors(self) -> dict[str, Tensor]:
        numbers = {
            "slope": self.prior.slope, "residual_slope": self.residual.slope, "reference": self.reference,
            "scale": self.unit.scale, "exponent": self.unit.exponent, "misfit": self.unit.misfit, "version": VERSION,
        }  # fmt: skip
        familiar = {} if self.familiar is None else {"familiar": self.familiar}
        return familiar | {
            "modes": self.prior.modes,
            "color": self.prior.color,
            "residual_modes": self.residual.modes,
            **{name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()},
        }

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], fill: Fill = "gaussian") -> "Constants":
        """Raises DataError for those of a version whose models with this fill are not read any more."""
        prior = FittedField(tensors["modes"], tensors["color"], float(tensors["slope"]))
        residual = FittedField(
            tensors["residual_modes"], torch.zeros_like(prior.color), float(tensors["residual_slope"])
        )
        if (familiar := tensors.get("familiar")) is not None:
            if familiar.shape == (3, 2):
                familiar = torch.cat([familiar, familiar.new_tensor([[0, torch.finfo(familiar.dtype).max]])])
            if familiar.shape != (len(STATISTICS), 2):
                raise ValueError(f"familiar is {tuple(familiar.shape)}")
        unit = Unit(float(tensors["scale"]))
        if "exponent" in tensors:  # earlier versions had none
            low, high = tensors["misfit"].tolist()
            unit = Unit(unit.scale, float(tensors["exponent"]), (low, high))
        kriged = fill == "gaussian" and ("exponent" not in tensors or unit.misfit != (1, 1))  # only masks have a misfit
        if kriged and int(tensors.get("version", 1)) < VERSION:
            raise DataError(
                "the checkpoint is of an earlier version, whose network was told the values seen and not their weights; "
                "train again: `invkit run RECIPE --fresh`"
            )
        return cls(prior, residual, unit, int(tensors["reference"]), familiar)


def embed(sigma: Tensor, size: int) -> Tensor:
    """Sines and cosines of ln(sigma) / 4 at geometric frequencies: (B,) to (B, size)."""
    phase = sigma.log().view(-1, 1) / 4 * torch.logspace(0, 1.5, size // 2, device=sigma.device)
    return torch.cat([phase.cos(), phase.sin()], 1)
