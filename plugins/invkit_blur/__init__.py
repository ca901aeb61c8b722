"""Blur: Gaussian, by motion, or with a kernel from a file."""

from collections.abc import Mapping

from invkit.api import Degradation, hookimpl
from invkit_blur.gaussian import GaussianBlur
from invkit_blur.kernel import KernelBlur
from invkit_blur.motion import MotionBlur

__all__ = ["GaussianBlur", "KernelBlur", "MotionBlur"]


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {"blur-gaussian": GaussianBlur, "blur-motion": MotionBlur, "blur-kernel": KernelBlur}
