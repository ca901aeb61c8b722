"""The conditional model: the residual law around a fill, learned by one network."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor, nn

from invkit.core.device import Precision, autocast, span
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion import Sample
from invkit.diffusion.conditioning import Condition, InitialEstimate, initial_estimate
from invkit.diffusion.constants import Constants, embed
from invkit.diffusion.density import fineness, zooms
from invkit.diffusion.networks.base import Network
from invkit.diffusion.out_of_distribution import statistics
from invkit.diffusion.preconditioning import Scaling, together
from invkit.diffusion.progressive import handover, sample_progressively
from invkit.diffusion.samplers import Denoise, Noise
from invkit.diffusion.settings import Diffusion
from invkit.physics.gaussian import FittedField, GaussianField, SupposedField
from invkit.physics.measurement import Measurement


@lru_cache(maxsize=32)  # by identity, so that what is computed of it is found again
def _zoomed(field: FittedField, zoom: float) -> FittedField:
    return replace(field, zoom=zoom)


class ConditionalModel(nn.Module):
    """`denoise` in residual units: `x = fill + deviation z`; at noise level infinity it returns the mean of z given y."""

    def __init__(
        self, settings: Network, diffusion: Diffusion, constants: Constants, precision: Precision = "auto"
    ) -> None:
        super().__init__()
        self.settings, self.diffusion, self.constants = settings, diffusion, constants
        self.precision = precision
        self.channels = len(constants.prior.color)
        self.network = settings.build(3 * self.channels + 2, self.channels)
        self.token = nn.Parameter(torch.zeros(settings.embedding_size))
        # White noise where a pixel is known says nothing of its neighbours; correlated noise does, and is left in the state.
        self.blanks = not diffusion.field.correlated

    @property
    def prior(self) -> FittedField:
        """The law fitted to the training pictures: the linear baseline."""
        return self.constants.prior

    @property
    def fill_prior(self) -> GaussianField:
        """The law behind a gaussian fill."""
        law, constants = self.settings.prior, self.constants
        return constants.prior if law is None else SupposedField(law, constants.prior, constants.reference)

    def working(self, grid: Grid, zoom: float = 1.0) -> tuple[int, int]:
        """Height and width of the grid on which the network works for pictures on `grid`, at most as fine as that by a zoom."""
        return self.settings.working(grid, self.constants.reference, max(1.0, min(zoom, self._finest(grid))))

    def _finest(self, grid: Grid) -> float:
        """How many times finer pictures on `grid` are than the network's own."""
        own = self.settings.working(grid, self.constants.reference)
        return min(n / m for n, m in zip(grid.shape, own, strict=True))

    def zooms(self, measurement: Measurement) -> Tensor:
        """How many times closer what a mask shows is than in training: (B,), from 1 to what the grid has, in steps of sqrt(2)."""
        return zooms(measurement, self.constants.closest, self._finest(measurement.grid))

    def fineness(self, measurement: Measurement) -> Tensor:
        """How many times closer what a mask shows is than amid the training: (B,) float64, from 1/8 to 8 in steps of sqrt(2).

        Each residual then has a law of its own, that of the middle as much finer. One for other operators.
        """
        return fineness(measurement, self.constants.familiar)

    @torch.no_grad()
    def initial_estimate(self, measurement: Measurement) -> InitialEstimate:
        """What the model starts from: of a mask the kriging, which `condition`, `statistics`, `mean` and `sample` reuse."""
        return initial_estimate(self.settings.fill, self.fill_prior, measurement)

    @torch.no_grad()
    def condition(
        self,
        measurement: Measurement,
        zoom: float = 1.0,
        fineness: float = 1.0,
        estimate: InitialEstimate | None = None,  # where it is known already
    ) -> Condition:
        """Everything that is computed once per measurement; no gradient flows here."""
        estimate = estimate or self.initial_estimate(measurement)
        scale = self.constants.unit(estimate.misfit).view(-1, 1, 1, 1)
        scaled = replace(estimate, deviation=estimate.deviation * scale)
        return Condition.of(scaled, measurement, self.working(measurement.grid, zoom), zoom, fineness)

    def _conditions(
        self, measurement: Measurement, estimate: InitialEstimate | None
    ) -> Iterator[tuple[Tensor, Condition]]:
        """Those of the measurements of each zoom and fineness, and which they are."""
        estimate = estimate or self.initial_estimate(measurement)
        both = torch.stack([self.zooms(measurement), self.fineness(measurement)], 1)
        for zoom, finer in both.unique(dim=0).tolist():
            places = ((both[:, 0] == zoom) & (both[:, 1] == finer)).nonzero()[:, 0].to(measurement.y.device)
            own = estimate.map(lambda t, places=places: t[places])  # type: ignore[misc]
            yield places, self.condition(measurement[places], zoom, finer, own)

    @torch.no_grad()
    def statistics(self, measurement: Measurement, estimate: InitialEstimate) -> Tensor:
        """The statistics of the out-of-distribution check, (B, 4)."""
        return statistics(estimate.mean, measurement, self.fill_prior)

    def residual(self, fineness: float) -> FittedField:
        """The law of the residual where what is seen is so many times closer: the same, as much finer."""
        return self.constants.residual if fineness == 1 else _zoomed(self.constants.residual, fineness)

    def scaling(self, sigma: Tensor, condition: Condition) -> Scaling:
        """The preconditioning at noise levels (B,)."""
        grid, (height, width) = condition.grid, condition.inputs.shape[-2:]
        return self.diffusion.preconditioning.scaling(
            sigma, self.diffusion.field, self.residual(condition.fineness), grid, Grid(height, width, grid.channels)
        )

    def _scaling_of_each(self, sigma: Tensor, condition: Condition, fineness: Tensor) -> Scaling:
        """That of pictures of several finenesses (B,)."""
        parts = []
        for value in fineness.unique().tolist():
            places = (fineness == value).nonzero()[:, 0].to(sigma.device)
            parts.append((places, self.scaling(sigma[places], replace(condition, fineness=value))))
        return parts[0][1] if len(parts) == 1 else together(parts)

    def denoise(
        self,
        z: Tensor,  # (B, C, H, W)
        sigma: Tensor,  # (B,) in (0, inf]
        condition: Condition,
        seed: int | None = None,  # of dropout; none without one
        scaling: Scaling | None = None,
    ) -> Tensor:
        """E[z_0 | z, y] (B, C, H, W) float32; z is ignored where sigma is infinite."""
        scaling = scaling or self.scaling(sigma, condition)
        mean_wanted = sigma.isinf()
        z = torch.where(mean_wanted.view(-1, 1, 1, 1), 0.0, z)
        if condition.hidden is not None and self.blanks:
            z = z * condition.hidden
        u = scaling.analysis(z)
        state = scaling.into(u)
        embedding = torch.where(mean_wanted[:, None], self.token, embed(sigma.clamp(max=1e6), len(self.token)))
        x = torch.cat([state, condition.inputs], 1).contiguous(memory_format=torch.channels_last)
        with autocast(x.device, self.precision), span("network"):
            # a number would be a constant of the compiled network
            raw = self.network(x, embedding, None if seed is None else torch.tensor(seed)).float()
        out = scaling.synthesis(scaling.skip(u) + scaling.out(raw))
        return out if condition.hidden is None else out * condition.hidden

    def loss(
        self,
        x: Tensor,  # (B, C, H, W)
        measurement: Measurement,
        keys: Keys,
        quantiles: Tensor,  # (B,) in [0, 1): where in the distribution of noise levels each picture stands
        *,
        mean_share: float,
        weight: Tensor | None = None,  # (B, 1 or C, H, W): where the loss is taken; None for all that is hidden
        seed: int | None = None,  # of dropout
    ) -> Tensor:
        """Denoising loss of every picture, (B,): a mean over the hidden domain, see `diffusion.loss`.

        Quantiles below `mean_share` are trained at noise level infinity, where the target is the posterior mean.
        """
        with span("condition"):
            condition = self.condition(measurement)
        grid = measurement.grid
        target = condition.estimate.residual(x)
        level = ((quantiles - mean_share) / max(1 - mean_share, 1e-9)).clamp(0, 1)
        sigma = torch.where(quantiles < mean_share, math.inf, self.diffusion.schedule.train_sigma(level))
        noise = self.diffusion.field.sample(keys.child("diffusion"), grid)
        z = target + torch.where(sigma.isinf(), 0, sigma).view(-1, 1, 1, 1) * noise
        scaling = self._scaling_of_each(sigma, condition, self.fineness(measurement))
        error = self.denoise(z, sigma, condition, seed, scaling) - target
        where = condition.hidden if weight is None else weight
        return self.diffusion.loss(error, where, sigma, scaling.power, self.diffusion.field, grid)

    @torch.no_grad()
    def mean(self, measurement: Measurement, estimate: InitialEstimate | None = None) -> Tensor:
        """Posterior mean (B, C, H, W) by one network call."""
        out = torch.empty(len(measurement), *measurement.grid.picture, device=measurement.y.device)
        for places, condition in self._conditions(measurement, estimate):
            infinity = torch.full((len(places),), math.inf, device=out.device)
            z = self.denoise(torch.zeros_like(condition.estimate.mean), infinity, condition)
            out[places] = condition.estimate.image(z)
        return out

    @torch.no_grad()
    def sample(
        self,
        measurement: Measurement,
        keys: Keys,
        count: int,
        settings: Sample,
        chunk: int = 256,
        estimate: InitialEstimate | None = None,
    ) -> Tensor:
        """Posterior samples (K, B, C, H, W), keyed by picture; at most `chunk` pictures are in the network at once."""
        out = torch.empty(count, len(measurement), *measurement.grid.picture, device=measurement.y.device)
        levels = self.diffusion.schedule.levels(settings.steps)
        for places, condition in self._conditions(measurement, estimate):
            chunks = keys[places].chunks(count, chunk)
            draws = [self._draw(condition.repeat(copies), own, levels, settings) for copies, own in chunks]
            z = torch.cat(draws).unflatten(0, (count, -1))
            out[:, places] = condition.estimate.image(z)
        return out

    def _draw(self, condition: Condition, keys: Keys, levels: Tensor, settings: Sample) -> Tensor:
        field = self.diffusion.field
        grids = [Grid(*self._cells(condition.grid, n), self.channels) for n in settings.coarse]
        grids = [*(g for g in grids if g.pixels < condition.grid.pixels), condition.grid]

        def denoise(grid: Grid) -> Denoise:
            own = condition if grid == condition.grid else condition.coarsened(grid, self.working(grid, condition.zoom))

            def at(z: Tensor, sigma: float) -> Tensor:
                levels = torch.full((len(z),), sigma, device=z.device)
                return self.denoise(z, levels, own, scaling=self.scaling(levels[:1], own))

            return at

        def noise(grid: Grid) -> Noise:
            stage = "" if grid == condition.grid else f"{grid}/"
            return lambda label: field.sample(keys.child(stage + label), grid)

        residual = self.residual(condition.fineness)
        limits = [handover(*pair, residual, field) for pair in pairwise(grids)]
        return sample_progressively(settings.method, grids, denoise, noise, levels, limits)

    @staticmethod
    def _cells(grid: Grid, n: int) -> tuple[int, int]:
        height, width = (max(1, round(e * n)) for e in grid.extent)
        return height, width
