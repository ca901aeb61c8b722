"""The conditional diffusion model: schedules, preconditioning, loss, samplers, conditioning inputs and networks.

Imports `core` and `physics`; knows no trainer and no recipe.
"""

from invkit.diffusion.samplers import SAMPLERS, Sample
from invkit.diffusion.schedules import SCHEDULES
from invkit.diffusion.settings import PRECONDITIONINGS, Diffusion
from invkit.physics.gaussian import FIELDS

__all__ = ["FIELDS", "PRECONDITIONINGS", "SAMPLERS", "SCHEDULES", "Diffusion", "Sample"]
