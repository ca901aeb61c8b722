"""How well a prior denoises: its error and its bias against the noise level, on images that it has not seen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import GaussianField
from invkit.reconstructors.zeroshot.closed_form import FieldPrior
from invkit.reconstructors.zeroshot.denoisers import DenoiserPrior
from invkit.reconstructors.zeroshot.prior import Prior, TrainedPrior

FALL = 0.95  # the error at a noise level over that at a lower one, at least
SHIFT, ERRORS = 0.05, 5.0  # bias allowed, relative to the images' standard deviation, and in standard errors
WORSE = 1.01  # ratio of squared errors to the linear denoiser's that is tolerated


@dataclass(frozen=True)
class Denoised:
    """The denoised test images at a noise level."""

    level: float
    error: float  # mean squared error
    bias: float  # mean of D - x
    doubt: float  # standard error of it
    std: float  # of the images, by the prior

    @property
    def biased(self) -> bool:
        return abs(self.bias) > max(SHIFT * self.std, ERRORS * self.doubt)


@torch.no_grad()
def denoised(prior: Prior, x: Tensor, levels: Sequence[float], groups: Sequence[str], seed: int = 0) -> list[Denoised]:
    """Error and bias at noise levels on images x (B, C, H, W), all with the same noise; images of a group are not independent."""
    grid = Grid(x.shape[2], x.shape[3], x.shape[1])
    noise = prior.noise(Keys.of(seed, "prior", range(len(x)), x.device), grid, "noise")
    places = {name: [i for i, own in enumerate(groups) if own == name] for name in groups}
    found = []
    for level in levels:
        difference = prior.denoise(x + level * noise, level) - x
        means = difference.mean((1, 2, 3)).double()
        each = torch.stack([means[own].mean() for own in places.values()])
        doubt = float(each.std() / len(each) ** 0.5) if len(each) > 1 else float("inf")
        found.append(Denoised(level, float(difference.square().mean()), float(means.mean()), doubt, prior.std(grid)))
    return found


def linear_denoiser(prior: Prior, grid: Grid) -> Prior | None:
    """The linear denoiser of images with the same mean and covariance, for the noise of a prior; None where they are unknown."""
    if isinstance(prior, TrainedPrior):
        return FieldPrior(prior.model.prior, prior.model.diffusion.field, prior.std(grid))
    if isinstance(prior, DenoiserPrior) and isinstance(prior.data, GaussianField):
        return FieldPrior(prior.data, prior.field, prior.scale)
    return None


def error_ratios(prior: Prior, linear: Prior, x: Tensor, levels: Sequence[float], seed: int = 0) -> list[float]:
    """At each noise level, the squared error of a denoiser over that of the linear one."""
    names = [str(i) for i in range(len(x))]
    own, other = (denoised(one, x, levels, names, seed) for one in (prior, linear))
    return [a.error / b.error for a, b in zip(own, other, strict=True)]


def faults(found: Sequence[Denoised]) -> Iterator[str]:
    """What speaks against a denoiser, from its results at noise levels in any order."""
    rising = sorted(found, key=lambda one: one.level)
    for low, high in pairwise(rising):
        if high.error < FALL * low.error:
            yield (
                f"its squared error falls from {low.error:.3g} at noise level {low.level:.3g} to {high.error:.3g} at "
                f"{high.level:.3g}, as if it took the noise for another"
            )
    if biased := [one for one in rising if one.biased]:
        worst = max(biased, key=lambda one: abs(one.bias))
        yield (
            f"at noise level {worst.level:.3g} it changes the mean of images by {worst.bias:+.3g}, "
            f"{abs(worst.bias) / worst.doubt:.0f} standard errors, as if it had other pixel values for black and white"
        )
