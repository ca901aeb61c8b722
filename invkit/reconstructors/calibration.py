"""Calibrated factors on the standard deviation of posterior samples, and what they promise."""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Calibration:
    """The factors of one kind of measurement, from the test images of a run; see `invkit.evaluation.risk` and `.conformal`."""

    percent: int  # of the pixels
    factor: float  # mean ± factor x standard deviation contains `percent` % of the pixels in expectation
    confidence: float  # probability, over the calibration images, that this holds
    images: int  # calibration images
    image_factor: float | None  # conformal: contains 90 % of the pixels of 90 % of the images; None for too few images
    measured: str  # the measurements that it holds for, in words

    def promise(self, pixels: str) -> str:
        """What the interval promises, for "pixels" or "hidden pixels".

        >>> Calibration(90, 1.9, 0.9, 64, 2.1, "denoise on 8x8").promise("pixels")[:62]
        'mean ± 1.9 standard deviations contains on average at least 90'
        """
        text = (
            f"mean ± {self.factor:.3g} standard deviations contains on average at least {self.percent} % of the {pixels} of an "
            f"image (confidence {100 * self.confidence:.3g} %, from {self.images} test images), for images like the test images of "
            f"the run, measured by {self.measured}"
        )
        if self.image_factor is None:
            return text
        return f"{text}; 90 % of the {pixels} of nine in ten single images need ± {self.image_factor:.3g}"


def percent(alpha: float) -> int:
    """The whole percentage of pixels that a factor of `eval.alpha` promises.

    >>> percent(0.1), percent(0.125)
    (90, 87)
    """
    return math.floor(100 * (1 - alpha) + 1e-9)


Calibrations = tuple[tuple[Calibration, ...], str]  # those that hold for given samples, and why there are no others
FindCalibrations = Callable[[], Calibrations]


def none_stored(
    why: str = "no calibrated interval: the samples are not of a run, which stores factors",
) -> Calibrations:
    """No factors, for samples that are not of a run."""
    return (), why
