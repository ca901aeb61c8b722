"""The conditional model: the residual law around a fill, learned by one network."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from invkit.degradation import Measurement
from invkit.device import Precision, autocast, span
from invkit.diffusion import Diffusion, Sample
from invkit.diffusion.condition import Condition, fill_in
from invkit.diffusion.familiar import STATISTICS, distance, fineness, statistics
from invkit.diffusion.preconditioning import Scaling, together
from invkit.diffusion.unit import Unit
from invkit.errors import DataError
from invkit.field import FittedField, GaussianField, SupposedField
from invkit.grid import Grid
from invkit.keys import Keys
from invkit.nn.base import Fill, Network

VERSION = 2  # of what the network is told


@dataclass(frozen=True, eq=False)
class Constants:
    """What is measured on the training pictures before the first step and travels with the weights."""

    prior: FittedField  # law of the pictures
    residual: FittedField  # law of the residual z in its units: mean zero, deviation about one
    unit: Unit  # of the residual, by the fill's misfit
    reference: int  # cells along the shorter side of the finest grid trained on
    # (4, 2): range of each of `familiar.statistics` in training; None, or without bounds on the last, of earlier versions
    familiar: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        numbers = {
            "slope": self.prior.slope, "residual_slope": self.residual.slope, "reference": self.reference,
            "scale": self.unit.scale, "exponent": self.unit.exponent, "misfit": self.unit.misfit, "version": VERSION,
        }  # fmt: skip
        familiar = {} if self.familiar is None else {"familiar": self.familiar}
        return familiar | {
            "modes": self.prior.modes,
            "color": self.prior.color,
            "residual_modes": self.residual.modes,
            **{name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()},
        }

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], fill: Fill = "gaussian") -> "Constants":
        """Raises DataError for those of a version whose models with this fill are not read any more."""
        prior = FittedField(tensors["modes"], tensors["color"], float(tensors["slope"]))
        residual = FittedField(
            tensors["residual_modes"], torch.zeros_like(prior.color), float(tensors["residual_slope"])
        )
        if (familiar := tensors.get("familiar")) is not None:
            if familiar.shape == (3, 2):
                familiar = torch.cat([familiar, familiar.new_tensor([[0, torch.finfo(familiar.dtype).max]])])
            if familiar.shape != (len(STATISTICS), 2):
                raise ValueError(f"familiar is {tuple(familiar.shape)}")
        unit = Unit(float(tensors["scale"]))
        if "exponent" in tensors:  # earlier versions had none
            low, high = tensors["misfit"].tolist()
            unit = Unit(unit.scale, float(tensors["exponent"]), (low, high))
        kriged = fill == "gaussian" and ("exponent" not in tensors or unit.misfit != (1, 1))  # only masks have a misfit
        if kriged and int(tensors.get("version", 1)) < VERSION:
            raise DataError(
                "the checkpoint is of an earlier version, whose network was told the values seen and not their weights; "
                "train again: `invkit run RECIPE --fresh`"
            )
        return cls(prior, residual, unit, int(tensors["reference"]), familiar)


def embed(sigma: Tensor, size: int) -> Tensor:
    """Sines and cosines of ln(sigma) / 4 at geometric frequencies: (B,) to (B, size)."""
    phase = sigma.log().view(-1, 1) / 4 * torch.logspace(0, 1.5, size // 2, device=sigma.device)
    return torch.cat([phase.cos(), phase.sin()], 1)


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
        one, finest = torch.ones(len(measurement), dtype=torch.float64), self._finest(measurement.grid)
        if measurement.observed is None or self.constants.familiar is None or finest <= 1:
            return one
        # Measured on the first of the training grids; on the finest a share of the pixels is as much closer.
        usual = float(self.constants.familiar[3, 0]) * min(self.prior.modes.shape[2:]) / self.constants.reference
        zoom = usual / distance(measurement.observed).cpu().clamp(min=1e-6)
        steps = (2 * (finest / zoom.clamp(1, finest)).log2()).round()
        return (finest * 2 ** (-steps / 2)).clamp(min=1)

    def fineness(self, measurement: Measurement) -> Tensor:
        """How many times closer what a mask shows is than amid the training: (B,) float64, from 1/8 to 8 in steps of sqrt(2).

        Each residual then has a law of its own, that of the middle as much finer. One for other operators.
        """
        return fineness(measurement, self.constants.familiar)

    def condition(self, measurement: Measurement, zoom: float = 1.0, fineness: float = 1.0) -> Condition:
        """Everything that is computed once per measurement; no gradient flows here."""
        with torch.no_grad():
            filled = fill_in(self.settings.fill, self.fill_prior, measurement)
            deviation = filled.deviation * self.constants.unit(filled.misfit).view(-1, 1, 1, 1)
            working = self.working(measurement.grid, zoom)
            back, weights = filled.back, filled.weights
            return Condition.of(filled.picture, deviation, back, weights, measurement, working, fineness)

    def _conditions(self, measurement: Measurement) -> Iterator[tuple[Tensor, Condition]]:
        """Those of the measurements of each zoom and fineness, and which they are."""
        both = torch.stack([self.zooms(measurement), self.fineness(measurement)], 1)
        for zoom, finer in both.unique(dim=0).tolist():
            places = ((both[:, 0] == zoom) & (both[:, 1] == finer)).nonzero()[:, 0].to(measurement.y.device)
            yield places, self.condition(measurement[places], zoom, finer)

    @torch.no_grad()
    def statistics(self, measurement: Measurement) -> Tensor:
        """What tells measurements that look unlike those of the training (B, 4); see `familiar`."""
        filled = fill_in(self.settings.fill, self.fill_prior, measurement)
        return statistics(filled.picture, measurement, self.fill_prior)

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
        target = (x - condition.fill) / condition.deviation
        level = ((quantiles - mean_share) / max(1 - mean_share, 1e-9)).clamp(0, 1)
        sigma = torch.where(quantiles < mean_share, math.inf, self.diffusion.schedule.train_sigma(level))
        noise = self.diffusion.field.sample(keys.child("diffusion"), grid)
        z = target + torch.where(sigma.isinf(), 0, sigma).view(-1, 1, 1, 1) * noise
        scaling = self._scaling_of_each(sigma, condition, self.fineness(measurement))
        error = self.denoise(z, sigma, condition, seed, scaling) - target
        where = condition.hidden if weight is None else weight
        return self.diffusion.loss(error, where, sigma, scaling.power)

    @torch.no_grad()
    def mean(self, measurement: Measurement) -> Tensor:
        """Posterior mean (B, C, H, W) by one network call."""
        out = torch.empty(len(measurement), *measurement.grid.picture, device=measurement.y.device)
        for places, condition in self._conditions(measurement):
            infinity = torch.full((len(places),), math.inf, device=out.device)
            z = self.denoise(torch.zeros_like(condition.fill), infinity, condition)
            out[places] = condition.fill + condition.deviation * z
        return out

    @torch.no_grad()
    def sample(self, measurement: Measurement, keys: Keys, count: int, settings: Sample, chunk: int = 256) -> Tensor:
        """Posterior samples (K, B, C, H, W), keyed by picture; at most `chunk` pictures are in the network at once."""
        out = torch.empty(count, len(measurement), *measurement.grid.picture, device=measurement.y.device)
        levels = self.diffusion.schedule.levels(settings.steps)
        for places, condition in self._conditions(measurement):
            chunks = keys[places].chunks(count, chunk)
            draws = [self._draw(condition.repeat(copies), own, levels, settings) for copies, own in chunks]
            out[:, places] = condition.fill + condition.deviation * torch.cat(draws).unflatten(0, (count, -1))
        return out

    def _draw(self, condition: Condition, keys: Keys, levels: Tensor, settings: Sample) -> Tensor:
        def denoise(z: Tensor, sigma: float) -> Tensor:
            sigmas = torch.full((len(z),), sigma, device=z.device)
            return self.denoise(z, sigmas, condition, scaling=self.scaling(sigmas[:1], condition))

        def noise(label: str) -> Tensor:
            return self.diffusion.field.sample(keys.child(label), condition.grid)

        return settings.method(denoise, noise, levels)
