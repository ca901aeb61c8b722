"""What the blurs share."""

from abc import ABC

from invkit.api import Degradation, Field


class Blur(Degradation, ABC):
    """A blur: frequencies are attenuated, some beyond recovery."""

    cutoff: float = Field(
        0.03,
        gt=0,
        le=0.03,
        description="the pseudo-inverse leaves out the weakest frequencies, up to this share of the blur's norm",
    )
