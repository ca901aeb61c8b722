"""Base class of the blurs."""

from abc import ABC

from invkit.api import Degradation, Field


class Blur(Degradation, ABC):
    """A blur: attenuates frequencies; the pseudo-inverse sets the weakest ones to zero."""

    cutoff: float = Field(
        0.03,
        gt=0,
        le=0.03,
        description="the pseudo-inverse omits the weakest frequencies, up to this share of the norm of the blur",
    )
