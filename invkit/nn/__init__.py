"""Networks, by their names in a recipe."""

from invkit.nn.base import Network
from invkit.nn.unet import FnoUNetSettings, UNetSettings

NETWORKS: dict[str, type[Network]] = {"fno-unet": FnoUNetSettings, "unet": UNetSettings}

__all__ = ["NETWORKS", "Network"]
