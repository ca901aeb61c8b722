"""The settings of the diffusion process."""

from typing import Self

from pydantic import Field, model_validator

from invkit.core.settings import Settings
from invkit.diffusion.loss import Loss
from invkit.diffusion.preconditioning import (
    EdmPreconditioning,
    EpsilonPreconditioning,
    LinearPreconditioning,
    Preconditioning,
    SpectralPreconditioning,
    VPreconditioning,
    X0Preconditioning,
)
from invkit.diffusion.schedules import EdmSchedule, Schedule
from invkit.physics.gaussian import StationaryField, WhiteField

PRECONDITIONINGS: dict[str, type[Preconditioning]] = {
    "edm": EdmPreconditioning,
    "epsilon": EpsilonPreconditioning,
    "x0": X0Preconditioning,
    "v": VPreconditioning,
    "linear": LinearPreconditioning,
    "spectral": SpectralPreconditioning,
}


class Diffusion(Settings):
    """The diffusion process that the model learns to reverse."""

    field: StationaryField = Field(default_factory=WhiteField, description="the Gaussian field of the noise")
    schedule: Schedule = Field(default_factory=EdmSchedule, description="noise levels of training and sampling")
    preconditioning: Preconditioning = Field(
        default_factory=LinearPreconditioning, description="scaling of the network's inputs and outputs"
    )
    loss: Loss = Field(default_factory=Loss, description="weight of the denoising error")

    @model_validator(mode="after")
    def _diagonal(self) -> Self:
        by_mode = isinstance(self.preconditioning, SpectralPreconditioning | LinearPreconditioning)
        if by_mode and (self.field.basis != "cosine" or self.field.padding):
            raise ValueError(
                "preconditioning: linear and spectral need a field in the cosine basis without padding; choose edm"
            )
        return self
