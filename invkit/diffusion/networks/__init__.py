"""The networks of the conditional model, by their names in a recipe.

Imports `core` and `physics.gaussian`; knows nothing of measurements and noise schedules.
"""

from invkit.diffusion.networks.base import Network
from invkit.diffusion.networks.unet import FnoUNetSettings, UNetSettings

NETWORKS: dict[str, type[Network]] = {"fno-unet": FnoUNetSettings, "unet": UNetSettings}
__all__ = ["NETWORKS", "Network"]
