"""The diffusion core: noise schedules, preconditioning, loss, samplers and the conditional model."""

from invkit.diffusion.samplers import SAMPLERS, Sample
from invkit.diffusion.schedules import SCHEDULES
from invkit.diffusion.settings import PRECONDITIONINGS, Diffusion
from invkit.physics.gaussian import FIELDS

__all__ = ["FIELDS", "PRECONDITIONINGS", "SAMPLERS", "SCHEDULES", "Diffusion", "Sample"]
