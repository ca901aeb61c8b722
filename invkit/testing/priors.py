"""Conformance of priors: a denoiser whose error rises with the noise, without bias, and noise of the stated covariance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from invkit.core.errors import RecipeError, Unavailable, first_line
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Dataset, Images, Split
from invkit.data.gaussian_fields import Fields
from invkit.data.photos import Photos
from invkit.reconstructors.base import Sources
from invkit.reconstructors.zeroshot import ImagePrior, Prior
from invkit.reconstructors.zeroshot.denoising import denoised, faults
from invkit.testing.algebra import relative
from invkit.testing.contract import global_state, same, snapshot
from invkit.testing.examples import bases
from invkit.testing.methods import sources_of
from invkit.testing.report import Check, Report, Worst, guarded
from invkit.testing.trials import fixed_random_state, normal

CHANNELS = (3, 1)
GRIDS = ((16, 24),)
IMAGES = 14  # test images, one of each photograph
LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
DRAWS, NOISE = 1000, 0.2  # of the noise, and the relative error allowed of its covariance
STEP, SLOPE = 1e-2, 0.02  # of finite differences in float32, and the relative error allowed
BATCH = 1e-3
GAIN = 1.05  # squared error over that of the noisy image or the mean image, at most


@dataclass(frozen=True, eq=False)
class Trial:
    """A built prior, test images on the grids that it takes, and why it takes no others."""

    prior: Prior
    images: dict[Grid, Tensor] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    reason: str = ""


class Grey(Images):
    """The mean over the channels of images."""

    def __init__(self, inner: Images, grid: Grid) -> None:
        self.inner, self.grid = inner, grid

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        return self.inner[ids].mean(1, keepdim=True)

    def group(self, image_id: int) -> str:
        return self.inner.group(image_id)


class GreyPhotos(Photos):
    """The photographs in grey."""

    def open(self, split: Split, grid: Grid, seed: int, limit: int | None = None) -> Images:
        return Grey(super().open(split, Grid(*grid.shape), seed, limit), grid)


@lru_cache(maxsize=4)
def _sources(learned: bool, channels: int) -> tuple[Dataset, Sources]:
    """Photographs, or images of a Gaussian field for priors in closed form, and what `build` may ask for."""
    data: Dataset = (Photos() if channels == 3 else GreyPhotos()) if learned else Fields()
    return data, sources_of(data, tuple(Grid(*size, channels) for size in GRIDS))


def check_shapes(trial: Trial) -> Check:
    """Denoised images, noise, mean and covariance have the shape of images and are finite; standard deviations are positive."""
    worst = Worst()
    for grid, x in trial.images.items():
        worst.record(0, 0, ", ".join(map(str, trial.images)))
        prior, one = trial.prior, (1, *grid.picture)
        found = {
            "denoise": (prior.denoise(x[:2], 0.5), (2, *grid.picture)),
            "noise": (prior.noise(Keys.of(0, "shapes", [0]), grid, "n"), one),
            "mean": (prior.mean(grid), one),
            "covariance": (prior.covariance(x[:2]), (2, *grid.picture)),
        }
        for name, (value, shape) in found.items():
            if tuple(value.shape) != shape or not bool(value.isfinite().all()):
                worst.fault(
                    f"{name} gave {tuple(value.shape)} on {grid}, expected {shape}, or values that are not finite"
                )
        for name in ("std", "noise_std", "max_eigenvalue"):
            if not getattr(prior, name)(grid) > 0:
                worst.fault(f"{name} is not positive on {grid}")
    return worst.check("shapes", trial.reason)


def check_noise(trial: Trial) -> Check:
    """Draws of the noise have the stated covariance along random directions, pixel std and largest eigenvalue."""
    worst = Worst()
    for grid in trial.images:
        prior, u = trial.prior, normal((4, *grid.picture), torch.float32, 0)
        n = prior.noise(Keys.of(0, "noise", range(DRAWS)), grid, "n")
        stated = (u * prior.covariance(u)).flatten(1).sum(1)
        worst.record(
            relative((n.flatten(1) @ u.flatten(1).T).var(0) - stated, stated), NOISE, "variance along directions"
        )
        power = n.square().mean().sqrt()
        worst.record(abs(float(power) / prior.noise_std(grid) - 1), NOISE, "pixel std")
        if float((stated / u.flatten(1).square().sum(1)).max()) > prior.max_eigenvalue(grid) * (1 + 1e-4):
            worst.fault(f"max_eigenvalue is below the covariance along a direction on {grid}")
    return worst.check("noise", trial.reason)


def check_gradients(trial: Trial) -> Check:
    """The gradient of `denoise` with respect to the image is that of finite differences."""
    worst = Worst()
    for grid, x in trial.images.items():
        state = (x[:2] + 0.3 * normal((2, *grid.picture), torch.float32, 1)).requires_grad_()
        with torch.enable_grad():
            clean = trial.prior.denoise(state, 0.5)
        v, u = (normal((2, *grid.picture), torch.float32, seed) for seed in (2, 3))
        if not clean.requires_grad:
            worst.fault("the denoised image has no gradient with respect to the noisy one")
            continue
        (gradient,) = torch.autograd.grad(clean, state, v)
        with torch.no_grad():
            ends = [(trial.prior.denoise(state + sign * STEP * u, 0.5) * v).sum().double() for sign in (1, -1)]
        slope, exact = (ends[0] - ends[1]) / (2 * STEP), (gradient * u).sum().double()
        scale = float(gradient.norm() * u.norm()) / u.numel() ** 0.5
        worst.record(float((slope - exact).abs()) / max(scale, 1e-30), SLOPE, f"from finite differences, {grid}")
    return worst.check("gradients", trial.reason)


def check_purity(trial: Trial) -> Check:
    """Equal arguments and keys give the same bits; no argument and no global generator is changed."""
    worst = Worst()
    for grid, x in trial.images.items():
        worst.record(0, 0, "two calls")
        before, state = [global_state(), snapshot(x)], x.clone()
        first = trial.prior.denoise(state, 0.5), trial.prior.noise(Keys.of(0, "p", range(2)), grid, "n")
        if not same(before, [global_state(), snapshot(state)]):
            worst.fault("it changes its argument or a global generator")
        again = trial.prior.denoise(x, 0.5), trial.prior.noise(Keys.of(0, "p", range(2)), grid, "n")
        if not all(map(torch.equal, first, again)):
            worst.fault("a second call gives another result")
    return worst.check("purity", trial.reason)


def check_batch(trial: Trial) -> Check:
    """An image is denoised alone as in a batch."""
    worst = Worst()
    for grid, x in trial.images.items():
        whole, alone = trial.prior.denoise(x[:3], 0.5), trial.prior.denoise(x[1:2], 0.5)
        worst.record(relative(alone - whole[1:2], alone), BATCH, f"{grid}")
    return worst.check("batch", trial.reason)


def check_error(trial: Trial) -> Check:
    """The squared error rises with the noise level, and is at most that of the noisy image and of the mean image."""
    worst = Worst()
    for grid, x in trial.images.items():
        noisy = trial.prior.noise_std(grid) ** 2
        constant = float((x - trial.prior.mean(grid).to(x)).square().mean())
        found = denoised(trial.prior, x, LEVELS, trial.groups)
        for one in found:
            best = min(one.level**2 * noisy, constant)
            worst.record(one.error / best, GAIN, f"of the trivial error at noise level {one.level:g}, {grid}")
        for fault in faults([one for one in found if not one.biased]):
            worst.fault(fault)
    return worst.check("error", trial.reason)


def check_bias(trial: Trial) -> Check:
    """At noise levels up to that of the images themselves, the mean over test images is kept."""
    worst = Worst()
    for grid, x in trial.images.items():
        found = denoised(trial.prior, x, [level for level in LEVELS if level <= 1], trial.groups)
        worst.record(0, 0, f"{len(x)} test images of {grid}")
        for one in found:
            if one.biased:
                worst.fault(next(faults([one])))
    return worst.check("bias", trial.reason)


CHECKS: dict[str, Callable[[Trial], Check]] = {
    "shapes": check_shapes,
    "noise": check_noise,
    "gradients": check_gradients,
    "purity": check_purity,
    "batch": check_batch,
    "error": check_error,
    "bias": check_bias,
}


def trial_of(settings: ImagePrior) -> Trial:
    """The prior for the first number of channels that it takes. Raises RecipeError if there is none."""
    refused: RecipeError | None = None
    for channels in CHANNELS:
        data, sources = _sources(settings.learned, channels)
        try:
            trial = Trial(settings.build(sources))
        except RecipeError as error:
            refused = refused or error
            continue
        reason, groups = "", ()
        for grid in sources.grids:
            images = data.open("test", grid, 0, IMAGES)
            x = images[range(len(images))]
            try:
                trial.prior.denoise(x[:1], 0.5)
            except Unavailable as why:
                reason = str(why)
                continue
            trial.images[grid], groups = x, tuple(images.group(i) for i in range(len(images)))  # type: ignore[assignment]
        return Trial(trial.prior, trial.images, groups, reason)
    assert refused is not None
    raise refused


def check_prior(prior: ImagePrior | type[ImagePrior], name: str | None = None) -> Report:
    """Check a prior, or its class with default settings, on photographs; one in closed form on the images that it describes.

    >>> from invkit.reconstructors.zeroshot import PRIORS
    >>> check_prior(PRIORS["gaussian"], "gaussian").passed
    True
    """
    settings = prior if isinstance(prior, ImagePrior) else bases(prior)[0]
    title = name or type(settings).__name__
    with fixed_random_state():
        try:
            trial = trial_of(settings)
        except RecipeError as error:
            return Report(title, (Check("shapes", True, None, None, str(error)),), "prior")
        except Exception as error:
            detail = f"raised {type(error).__name__}: {first_line(error)}"
            return Report(title, (Check("shapes", False, None, None, detail),), "prior")
        return Report(title, tuple(guarded(key, check, trial) for key, check in CHECKS.items()), "prior")
