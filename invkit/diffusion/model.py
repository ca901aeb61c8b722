"""The conditional model: one network for the posterior of the residual about an initial estimate."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invkit.core.cuda_graphs import Replayed
from invkit.core.device import Precision, autocast, send
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.core.spans import span
from invkit.diffusion import Sample
from invkit.diffusion.conditioning import Condition, InitialEstimate, initial_estimate
from invkit.diffusion.constants import Constants, embed
from invkit.diffusion.density import STEPS, density_ratio, density_steps, training_steps, zooms
from invkit.diffusion.energy_score import energy_score
from invkit.diffusion.networks.base import Network
from invkit.diffusion.out_of_distribution import statistics
from invkit.diffusion.passes import ALL, Passes
from invkit.diffusion.preconditioning import FieldOfEach, Scaling
from invkit.diffusion.settings import Diffusion
from invkit.physics.gaussian import ExtrapolatedField, FittedField, GaussianField
from invkit.physics.measurement import Measurement


class ConditionalModel(nn.Module):
    """Denoises the residual z of `x = mean + std z`; at noise level infinity `denoise` returns the mean of z given y."""

    def __init__(
        self, settings: Network, diffusion: Diffusion, constants: Constants, precision: Precision = "auto"
    ) -> None:
        super().__init__()
        self.settings, self.diffusion, self.constants = settings, diffusion, constants
        self.schedule = diffusion.schedule.fitted(strongest_mode(constants.residual, diffusion.field))
        self.precision = precision
        self.channels = len(constants.prior.color)
        self.network = settings.build(3 * self.channels + 2, self.channels)
        self.replayed: Replayed | None = None  # the network, from CUDA graphs
        self.token = nn.Parameter(torch.zeros(settings.embedding_size))
        self._trained_steps = training_steps(constants.training_ranges)
        self.to(torch.float32)  # torch's default may be another
        # White noise at known pixels is set to zero in the state; correlated noise stays, it is informative about other pixels.
        self.blanks = not diffusion.field.correlated

    @property
    def prior(self) -> FittedField:
        """The Gaussian field fitted to the training images: the linear baseline."""
        return self.constants.prior

    @property
    def estimate_prior(self) -> GaussianField:
        """The prior of a gaussian initial estimate."""
        prior, constants = self.settings.prior, self.constants
        return constants.prior if prior is None else ExtrapolatedField(prior, constants.prior, constants.reference)

    def working(self, grid: Grid, zoom: float = 1.0) -> tuple[int, int]:
        """Height and width of the network's grid for images on `grid`, finer by `zoom` as far as `grid` itself is."""
        return self.settings.working(grid, self.constants.reference, max(1.0, min(zoom, self._finest(grid))))

    def _finest(self, grid: Grid) -> float:
        """Resolution of `grid` relative to the network's."""
        own = self.settings.working(grid, self.constants.reference)
        return min(n / m for n, m in zip(grid.shape, own, strict=True))

    def zooms(self, measurement: Measurement) -> Tensor | None:
        """Ratio of a mask's sampling density to the densest in training, (B,), or None for one: see `density.zooms`."""
        return zooms(measurement, self.constants.closest, self._finest(measurement.grid))

    def density_ratio(self, measurement: Measurement) -> Tensor:
        """Ratio of a mask's sampling density to the middle of the training's, (B,): see `density.density_ratio`."""
        return density_ratio(measurement, self.constants.training_ranges)

    @torch.no_grad()
    def initial_estimate(self, measurement: Measurement) -> InitialEstimate:
        """See `conditioning.initial_estimate`; the methods below take it where it is computed already."""
        return initial_estimate(self.settings.fill, self.estimate_prior, measurement)

    @torch.no_grad()
    def condition(
        self, measurement: Measurement, zoom: float = 1.0, residual: GaussianField | FieldOfEach | None = None,
        estimate: InitialEstimate | None = None,
    ) -> Condition:  # fmt: skip
        """Everything that is computed once per measurement; no gradient flows here. `residual` is that of density ratio one."""
        with span("condition"):
            estimate = estimate or self.initial_estimate(measurement)
            scale = self.constants.residual_scale(estimate.loo_error).view(-1, 1, 1, 1)
            scaled = replace(estimate, std=estimate.std * scale)
            shape = self.working(measurement.grid, zoom)
            return Condition.of(scaled, measurement, shape, residual or self.constants.residual)

    def _conditions(
        self, measurement: Measurement, estimate: InitialEstimate | None
    ) -> Iterator[tuple[slice | Tensor, Condition]]:
        """The measurements grouped by the network's grid: their places in the batch, and their condition.

        On grids finer than the network's, zooms and density ratios of masks are read once, for these choose grids and fields.
        """
        if (zooms := self.zooms(measurement)) is None:
            steps = density_steps(measurement, self.constants.training_ranges)
            residual = self._residual_of_each(steps, range(-STEPS, STEPS + 1))
            yield slice(None), self.condition(measurement, 1.0, residual, estimate)
            return
        both = torch.stack([zooms, self.density_ratio(measurement).to(zooms)], 1).tolist()
        for kind in sorted({*map(tuple, both)}):
            places = send(torch.tensor([i for i, own in enumerate(both) if tuple(own) == kind]), zooms.device)
            alone = len(places) == len(measurement)
            own = estimate if estimate is None or alone else estimate[places]
            yield places, self.condition(measurement[places], kind[0], self.residual(kind[1]), own)

    @torch.no_grad()
    def statistics(self, measurement: Measurement, estimate: InitialEstimate) -> Tensor:
        """The statistics of the out-of-distribution check, (B, 4)."""
        return statistics(estimate.mean, measurement, self.estimate_prior)

    def residual(self, density_ratio: float) -> FittedField:
        """The field of the residual at a sampling density: the fitted one, finer by the density ratio."""
        return self.constants.residual.zoomed(density_ratio)

    def _residual_of_each(self, steps: Tensor | None, possible: range) -> GaussianField | FieldOfEach:
        """The residual fields of a batch from its `density_steps`, which are clamped to a range."""
        if steps is None:
            return self.residual(1.0)
        fields = tuple(self.residual(2 ** (step / 2)) for step in possible)
        return FieldOfEach(fields, steps.clamp(possible[0], possible[-1]) - possible[0])

    def scaling(self, sigma: Tensor, condition: Condition) -> Scaling:
        """The preconditioning at noise levels (B,)."""
        working = Grid(condition.inputs.shape[2], condition.inputs.shape[3], self.channels)
        return self.diffusion.preconditioning.scaling(
            sigma, self.diffusion.field, condition.residual, condition.grid, working
        )

    def denoise(
        self,
        z: Tensor,  # (B, C, H, W)
        sigma: Tensor,  # (B,) in (0, inf]
        condition: Condition,
        seed: int | None = None,  # of dropout; none without one
        scaling: Scaling | None = None,
    ) -> Tensor:
        """E[z_0 | z, y] (B, C, H, W) float32.

        Where sigma is infinite: E[z_0 | y] if z is zero; a sample of z_0 given y if it is a draw of the noise field and the model
        was trained with `score`.
        """
        scaling = scaling or self.scaling(sigma, condition)
        if condition.hidden is not None and self.blanks:
            z = z * condition.hidden
        u = scaling.analysis(z)
        state = scaling.into(u)
        embedding = torch.where(sigma.isinf()[:, None], self.token, embed(sigma.clamp(max=1e6), len(self.token)))
        x = torch.cat([state, condition.inputs], 1).contiguous(memory_format=torch.channels_last)
        with autocast(x.device, self.precision), span("network"):
            if self.replayed is not None:
                raw = self.replayed(x, embedding).float()
            else:  # the seed as a tensor: a number would be compiled into the network
                raw = self.network(x, embedding, None if seed is None else torch.tensor(seed)).float()
        out = scaling.synthesis(scaling.skip(u) + scaling.out(raw))
        return out if condition.hidden is None else out * condition.hidden

    def loss(
        self,
        x: Tensor,  # (B, C, H, W)
        measurement: Measurement,
        keys: Keys,
        quantiles: Tensor,  # (B,) in [0, 1): quantile of each image's noise level
        *,
        mean_share: float,
        weight: Tensor | None = None,  # (B, 1 or C, H, W): where the loss is taken; None for all that is hidden
        seed: int | None = None,  # of dropout
    ) -> Tensor:
        """Denoising loss of each image, (B,): a mean over the hidden pixels, see `diffusion.loss`.

        Quantiles below `mean_share` are trained at noise level infinity, where the optimal output is the posterior mean.
        """
        ranges, possible = self.constants.training_ranges, self._trained_steps
        steps = density_steps(measurement, ranges) if len(possible) > 1 else None
        condition = self.condition(measurement, residual=self._residual_of_each(steps, possible))
        grid = measurement.grid
        target = condition.estimate.residual(x)
        quantile = ((quantiles - mean_share) / max(1 - mean_share, 1e-9)).clamp(0, 1)
        sigma = self.schedule.train_sigma(quantile).masked_fill(quantiles < mean_share, math.inf)
        noise = self.diffusion.field.sample(keys.child("diffusion"), grid)
        level = sigma.view(-1, 1, 1, 1)
        z = (target + level * noise).masked_fill(level.isinf(), 0.0)
        scaling = self.scaling(sigma, condition)
        error = self.denoise(z, sigma, condition, seed, scaling) - target
        where = condition.hidden if weight is None else weight
        return self.diffusion.loss(error, where, sigma, scaling.power)

    def score(
        self,
        x: Tensor,  # (B, C, H, W)
        measurement: Measurement,
        keys: Keys,
        weight: Tensor | None = None,  # (B, 1 or C, H, W), as in `loss`
        seed: int | None = None,  # of dropout
    ) -> Tensor:
        """Energy score (B,) of two samples by one network call each: see `diffusion.energy_score`."""
        condition = self.condition(measurement)
        target = condition.estimate.residual(x)
        noise = [self.diffusion.field.sample(keys.child(f"member{i}"), measurement.grid) for i in range(2)]
        sigma = torch.full((1,), math.inf, device=x.device)
        scaling = self.scaling(sigma, condition)
        pair = self.denoise(torch.cat(noise), sigma.expand(2 * len(x)), condition.repeat(2), seed, scaling)
        first, second = pair.chunk(2)
        return energy_score(first, second, target, condition.hidden if weight is None else weight)

    @torch.no_grad()
    def mean(self, measurement: Measurement, estimate: InitialEstimate | None = None) -> Tensor:
        """Posterior mean (B, C, H, W) by one network call."""
        out = torch.empty(len(measurement), *measurement.grid.picture, dtype=torch.float32, device=measurement.y.device)
        for places, condition in self._conditions(measurement, estimate):
            infinity = torch.full((len(condition),), math.inf, dtype=torch.float32, device=out.device)
            z = self.denoise(torch.zeros_like(condition.estimate.mean), infinity, condition)
            out[places] = condition.estimate.image(z)
        return out

    @torch.no_grad()
    def sample(
        self, measurement: Measurement, keys: Keys, count: int, settings: Sample,
        passes: Passes = ALL, estimate: InitialEstimate | None = None,
    ) -> Tensor:  # fmt: skip
        """Posterior samples (K, B, C, H, W), keyed by image."""
        shape = (count, len(measurement), *measurement.grid.picture)
        out = torch.empty(shape, dtype=torch.float32, device=measurement.y.device)
        levels = settings.levels(self.schedule)
        for places, condition in self._conditions(measurement, estimate):
            chunks = keys[places].chunks(count, passes.most(out.device, measurement.grid.pixels), passes.first)
            draws = [self._draw(condition.repeat(n), own, levels, settings, passes.called) for n, own in chunks]
            z = torch.cat(draws).unflatten(0, (count, -1))
            out[:, places] = condition.estimate.image(z)
        return out

    def _draw(
        self, condition: Condition, keys: Keys, levels: Tensor, settings: Sample, called: Callable[[int], None]
    ) -> Tensor:
        """Samples of the residual, one for each of the condition's batch."""

        def denoise(z: Tensor, sigma: float) -> Tensor:
            sigmas = torch.full((len(z),), sigma, dtype=torch.float32, device=z.device)
            clean = self.denoise(z, sigmas, condition, scaling=self.scaling(sigmas[:1], condition))
            called(len(z))
            return clean

        def noise(label: str) -> Tensor:
            return self.diffusion.field.sample(keys.child(label), condition.grid)

        return settings.method(denoise, noise, levels)


def strongest_mode(residual: FittedField, noise: GaussianField) -> float:
    """Largest ratio of the standard deviations of a mode of the residual and of the noise, on the grid of the fit."""
    height, width = residual.modes.shape[2:]
    grid = Grid(height, width, len(residual.color))
    power = torch.linalg.eigvalsh(residual.modes.permute(2, 3, 0, 1))[..., -1]
    own = noise.spectrum(grid).diagonal().amin(-1)
    if own.shape != power.shape:  # modes of a larger domain: the same wave numbers are further apart
        own = F.interpolate(own[None, None], size=power.shape, mode="nearest")[0, 0]
    return float((power / own.clamp(min=1e-30)).max().sqrt())
