"""Training images of which only the measured pixels are known: the prior, the examples and the conditions of such a training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from invkit.core.errors import NonFiniteError, RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Images
from invkit.physics.degradation import Degradation
from invkit.physics.gaussian import Achromatic, FittedField, GaussianField, MaternField
from invkit.physics.gaussian.kriging import DENSE_VALUES
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.noise import NoiseLaw
from invkit.physics.operators.mask import Mask

ROUNDS = 8  # of expectation maximisation; the second half is averaged
MASKS = 1024  # masks of which the pairs of pixels are counted
PAIRS = 20  # smallest number of pairs at each lag


@dataclass(frozen=True, eq=False)
class MeasuredImages(Images):
    """Images of which only the values of one measurement are known, with its noise; NaN elsewhere.

    Mask and noise are keyed by image, and the same in every epoch. Nothing that reads these images can use another pixel.
    """

    images: Images
    degradation: Degradation
    noise: NoiseLaw
    seed: int

    @property
    def grid(self) -> Grid:  # type: ignore[override]
        return self.images.grid

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        keys = Keys.of(self.seed, "measured", list(ids))
        operator = self.degradation.sample(keys.child("operator"), self.grid)
        assert isinstance(operator, Mask)
        measured = measure(operator, self.images[ids], self.noise, keys.child("noise"))
        known = torch.where(operator.observed, measured.y, math.nan)
        if int(known.isfinite().sum()) < int(operator.observed.expand_as(known).sum()):
            raise NonFiniteError(
                f"measured values of the training images {list(ids)} are not finite; check the data set"
            )
        return known

    def group(self, image_id: int) -> str:
        return self.images.group(image_id)


def check_masks(degradation: Degradation, grid: Grid, seed: int) -> None:
    """Raises RecipeError where the measured pixels of many images do not determine the distribution of the images.

    Every pixel, and every two pixels up to half the image apart, have to be measured together in some of the images: the
    covariance of those that never are cannot be known.
    """
    keys = Keys.of(seed, "measured", range(MASKS)).child("operator")
    one = degradation.sample(keys[:1], grid)
    if not isinstance(one, Mask) or bool((one.observed.any(1) != one.observed.all(1)).any()):
        raise RecipeError(
            "train.clean: false needs a degradation that measures pixels, the same in all channels; "
            "train on clean images (train.clean=true)"
        )
    operator = degradation.sample(keys, grid)
    assert isinstance(operator, Mask)
    observed = operator.observed[:, 0]
    if (most := int(observed.sum((1, 2)).max())) > DENSE_VALUES:
        raise RecipeError(
            f"train.clean: false completes images of at most {DENSE_VALUES} measured pixels, and the masks on {grid} measure up "
            f"to {most}; measure fewer, or choose a smaller train.grids"
        )
    apart, least = _rarest_lag(observed)
    never = int((~observed.any(0)).sum())
    if least < PAIRS or never:
        what = f"{never} pixels are never measured"
        if least < PAIRS:
            what = f"{least} pairs of measured pixels are {apart} cells apart"
        raise RecipeError(
            f"train.clean: false: in {MASKS} masks {what}, so that the measured pixels do not determine the covariance; measure "
            "more pixels, at random, or train on clean images (train.clean=true)"
        )


def _rarest_lag(observed: Tensor) -> tuple[tuple[int, int], int]:
    """The lag, up to half the image, at which the fewest pairs of pixels are observed in masks (B, H, W), and their number."""
    (rows, columns), shape = (n // 2 for n in observed.shape[1:]), [2 * n for n in observed.shape[1:]]
    power = torch.fft.rfft2(observed.double(), s=shape).abs().square().sum(0)
    pairs = (
        torch.fft.irfft2(power, s=shape).round().roll(rows, 0)[: 2 * rows + 1, : columns + 1]
    )  # opposite lags are equal
    place = int(pairs.argmin())
    return (abs(place // (columns + 1) - rows), place % (columns + 1)), int(pairs.min())


def measurement_of(
    x: Tensor,  # (B, C, H, W), NaN where not measured
    sigma: float,
) -> Measurement:
    """The measurement that left these values."""
    observed = ~x.isnan()[:, :1]
    return Measurement(Mask(observed, x.shape[1]), torch.where(observed, x, 0.0), sigma)


def hold(measurement: Measurement, keys: Keys, shares: tuple[float, float]) -> tuple[Measurement, Tensor]:
    """The measurement without a random share of its pixels, drawn from a range; and these query pixels, (B, 1, H, W) in {0, 1}.

    At least one pixel is left and one is held, where there are two.
    """
    grid, (low, high) = measurement.grid, shares
    assert measurement.observed is not None
    observed = measurement.observed.flatten(1)
    count = observed.sum(1, keepdim=True)
    share = low + (high - low) * keys.uniform("share", 1).double()
    held = (share * count).round().clamp(min=1).minimum(count - 1)
    order = torch.where(observed, keys.permutation("held", grid.pixels), grid.pixels)
    query = (observed & (order.argsort(1).argsort(1) < held)).view(-1, 1, *grid.shape)
    shown = Mask(measurement.observed & ~query, grid.channels)
    return Measurement(shown, shown.forward(measurement.y), measurement.sigma), query.to(measurement.y)


def complete(measurement: Measurement, field: FittedField, keys: Keys) -> Tensor:
    """A draw of each image given its measured pixels under a field, (B, C, H, W), with the contrast of the image.

    Conditioning by kriging, `m + k(y - A m) + e (u - m - k(v - A m))`: a sample u of the field, its measurement v, and the
    leave-one-out error e of the image, the factor on the standard deviation of the field. Colours are kriged one by one, which is
    exact if one colour correlation holds for all modes.
    """
    grid, y, mask = measurement.grid, measurement.y, measurement.observed
    assert mask is not None
    u = field.sample(keys.child("prior"), grid)
    twin = measure(measurement.operator, u, Noise(sigma=measurement.sigma), keys.child("noise")).y
    centre = field.centre(grid, y)
    turn, groups = _colours(field, grid, measurement.sigma > 0)
    turn = turn.to(y)
    values = torch.einsum("cd,sbchw->sbdhw", turn, torch.stack([y, twin]) - centre * mask)
    grey, flat = Measurement(Mask(mask, 1), y[:, :1], measurement.sigma), Grid(*grid.shape, 1)
    kriged: list[Tensor] = []
    squares = torch.zeros_like(y[:, 0, 0, 0])
    for single, count in groups:
        part = values[:, :, len(kriged) : len(kriged) + count].transpose(1, 2)  # (2, count, B, H, W)
        posterior = GaussianPosterior(single, grey)
        weights = posterior.weights(part.flatten(0, 1).unsqueeze(2))
        squares += count / grid.channels * posterior.loo_error(weights[:count]).square()
        kriged += single.covariance(weights, flat).unflatten(0, (2, count)).squeeze(3).unbind(1)
    own, other = torch.einsum("cd,dsbhw->sbchw", turn, torch.stack(kriged))
    return measurement.paste(centre + own + squares.sqrt().view(-1, 1, 1, 1) * (u - centre - other))


@lru_cache(maxsize=4)  # by identity, so that matrices cached for the fields are found again
def _colours(field: FittedField, grid: Grid, noise: bool) -> tuple[Tensor, list[tuple[GaussianField, int]]]:
    """Orthonormal colours (C, C), as columns, to krige one by one, and the field of each group of them with its size.

    Without noise the channels themselves, all with their mean spectrum, so that the weights are the same. With noise the principal
    colours, which are uncorrelated: a noisy value says something about the other channels.
    """
    if not noise:
        return torch.eye(grid.channels), [(Achromatic(field, grid.channels), grid.channels)]
    turn = torch.linalg.eigh(field.modes.sum((2, 3)))[1]
    powers = torch.einsum("dc,dehw,ec->chw", turn, field.modes, turn)
    zero, flat = torch.zeros(1, dtype=torch.float64), Grid(*grid.shape, 1)
    return turn, [(FittedField.of(power[None, None], zero, flat), 1) for power in powers]


def fit_incomplete(images: Images, sigma: float, seed: int, count: int) -> FittedField:
    """The field of images of which pixels are measured, by stochastic expectation maximisation on `count` images in each round.

    Each round completes other images under the field so far and fits a field to them (Dempster, Laird & Rubin 1977; with one draw
    of each image: Celeux & Diebolt 1985). The second half of the rounds is averaged.
    """
    grid, kept = images.grid, 0
    field: FittedField | None = None
    for k in range(ROUNDS):
        ids = [i % len(images) for i in range(k * count, (k + 1) * count)]
        parts = []
        for first in range(0, count, 64):
            part = ids[first : first + 64]
            y = measurement_of(images[part], sigma)
            field = field or _start(y)
            parts.append(complete(y, field, Keys.of(seed, f"complete/{k}", part)))
        found = FittedField.fit(torch.cat(parts), grid)
        assert field is not None
        kept = kept + 1 if 2 * k >= ROUNDS else 1
        field = FittedField.of(
            field.modes + (found.modes - field.modes) / kept, field.color + (found.color - field.color) / kept, grid
        )
    assert field is not None
    return field


def _start(y: Measurement) -> FittedField:
    """A field with the mean colour and the variance of measured values."""
    assert y.observed is not None
    mask = y.observed.expand_as(y.y)
    color = y.y.sum((0, 2, 3), dtype=torch.float64) / mask.sum((0, 2, 3))
    variance = float(((y.y - color.view(-1, 1, 1)) * mask).square().sum() / mask.sum()) - y.sigma**2
    smooth = MaternField(std=max(variance, 1e-6) ** 0.5)
    return FittedField.of(smooth.spectrum(y.grid), color, y.grid)
