"""The diffusion core: noise fields, schedules, preconditioning, loss, samplers and the conditional model."""

from pydantic import Field

from invkit.diffusion.loss import Loss
from invkit.diffusion.preconditioning import (
    EdmPreconditioning,
    EpsilonPreconditioning,
    Preconditioning,
    SpectralPreconditioning,
    VPreconditioning,
    X0Preconditioning,
)
from invkit.diffusion.samplers import SAMPLERS, Sample
from invkit.diffusion.schedules import SCHEDULES, EdmSchedule, Schedule
from invkit.field import FIELDS, Law, WhiteField
from invkit.settings import Settings

PRECONDITIONINGS: dict[str, type[Preconditioning]] = {
    "edm": EdmPreconditioning,
    "epsilon": EpsilonPreconditioning,
    "x0": X0Preconditioning,
    "v": VPreconditioning,
    "spectral": SpectralPreconditioning,
}


class Diffusion(Settings):
    """The noising process that the model learns to reverse."""

    field: Law = Field(default_factory=WhiteField, description="law of the noise")
    schedule: Schedule = Field(default_factory=EdmSchedule, description="noise levels in training and sampling")
    preconditioning: Preconditioning = Field(
        default_factory=EdmPreconditioning, description="scaling of the network's input and output"
    )
    loss: Loss = Field(default_factory=Loss, description="weight of the denoising error")


__all__ = ["FIELDS", "PRECONDITIONINGS", "SAMPLERS", "SCHEDULES", "Diffusion", "Sample"]
