"""What the blurs share."""

from abc import ABC

from invkit.api import Degradation, Field


class Blur(Degradation, ABC):
    """A blur: frequencies are attenuated, some beyond recovery."""

    cutoff: float = Field(
        0.05, gt=0, le=0.1, description="the pseudo-inverse leaves out what is attenuated to this share or less"
    )
