"""The diffusion core: noise fields, schedules, preconditioning, samplers and the conditional model."""

from pydantic import ConfigDict, Field

from invkit.diffusion.preconditioning import EdmPreconditioning
from invkit.diffusion.samplers import SAMPLERS, Sample
from invkit.diffusion.schedules import EdmSchedule, Schedule, VpCosineSchedule
from invkit.field import GaussianField, MaternField, WhiteField
from invkit.settings import Settings

FIELDS: dict[str, type[Settings]] = {"white": WhiteField, "matern": MaternField}
SCHEDULES: dict[str, type[Schedule]] = {"edm": EdmSchedule, "vp-cosine": VpCosineSchedule}
PRECONDITIONINGS: dict[str, type[Settings]] = {"edm": EdmPreconditioning}


class Diffusion(Settings):
    """The noising process that the model learns to reverse."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    field: GaussianField = Field(default_factory=WhiteField, description="law of the noise")
    schedule: Schedule = Field(default_factory=EdmSchedule, description="noise levels in training and sampling")
    preconditioning: EdmPreconditioning = Field(
        default_factory=EdmPreconditioning, description="scaling of the network"
    )


__all__ = ["FIELDS", "PRECONDITIONINGS", "SAMPLERS", "SCHEDULES", "Diffusion", "Sample"]
