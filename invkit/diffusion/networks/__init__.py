"""Networks, by their names in a recipe."""

from invkit.diffusion.networks.base import Network
from invkit.diffusion.networks.unet import FnoUNetSettings, UNetSettings

NETWORKS: dict[str, type[Network]] = {"fno-unet": FnoUNetSettings, "unet": UNetSettings}

__all__ = ["NETWORKS", "Network"]
