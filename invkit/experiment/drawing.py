"""Posterior mean and samples of measurements, computed in parts."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from invkit.core.keys import Keys
from invkit.diffusion import Sample
from invkit.diffusion.conditioning import InitialEstimate
from invkit.diffusion.model import ConditionalModel
from invkit.diffusion.out_of_distribution import warning
from invkit.diffusion.passes import ALL, Passes
from invkit.diffusion.tiling import TiledModel, Tiles
from invkit.physics.gaussian.points import on_cells
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask
from invkit.physics.operators.points import PointValues
from invkit.physics.points import binned

TIMED = 64  # tiles whose time is measured
Estimates = list[tuple[slice, InitialEstimate]]  # of each part of a batch, on the CPU


@dataclass(frozen=True, eq=False)
class Drawing(ABC):
    """The posterior of a batch of measurements; samples are keyed by image and may be drawn in any portions."""

    model: ConditionalModel
    measurement: Measurement
    keys: Keys  # on the device of the model
    settings: Sample
    passes: Passes = ALL

    @abstractmethod
    def mean(self) -> Tensor:
        """Posterior mean (B, C, H, W)."""

    @abstractmethod
    def samples(self, count: int, first: int = 0) -> Tensor:
        """Samples `first` to `first + count` (count, B, C, H, W)."""

    @property
    def warning(self) -> str | None:
        """One line if measurements are out of distribution, provided that the model has the training ranges."""
        return None

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of images or tiles that the network processes for one call of the whole batch."""

    @abstractmethod
    def seconds(self, count: int) -> float:
        """Duration of the mean and `count` samples, estimated from a first network call."""

    def calls(self, count: int) -> int:
        """Network calls of the mean and `count` samples, each counted for every image or tile."""
        return self.size * (1 + count * self.settings.calls)

    @property
    def device(self) -> torch.device:
        return self.keys.device


class Whole(Drawing):
    """Every image as a whole.

    Values at points are kriged to the cells that contain them (`on_cells`): the mean from posterior means, every sample from
    a posterior sample of these cells.
    """

    @property
    def size(self) -> int:
        return len(self.measurement)

    def mean(self) -> Tensor:
        mean = self._cells[0].paste(torch.cat(self._means()))
        self.passes.called(self.size)
        return mean

    def _means(self) -> list[Tensor]:
        cells, device = self._cells[0], self.device
        return [self.model.mean(cells[part].to(device), e.to(device)).cpu() for part, e in self._estimates]

    def seconds(self, count: int) -> float:
        self._means()  # the first call takes longer
        return _timed(self._means) * self.calls(count) / self.size

    def samples(self, count: int, first: int = 0) -> Tensor:
        cells, are_points = self._cells
        if not are_points:
            return self._sampled(cells, self._estimates, self.keys, count, first)
        own = slice(first * len(cells), None)
        keys = self.keys.fork(first + count)[own]
        on_cpu = Keys(self.keys.hashes)
        drawn = on_cells(self.model.estimate_prior, self.measurement.to("cpu"), on_cpu, first + count)[own]
        estimates = [(part, estimate) for part, _, estimate in self._kriged(drawn)]
        return self._sampled(drawn, estimates, keys, 1, 0)[0].unflatten(0, (count, -1))

    def _sampled(self, measurement: Measurement, estimates: Estimates, keys: Keys, count: int, first: int) -> Tensor:
        passes, device = replace(self.passes, first=first), self.device
        parts = [
            self.model.sample(measurement[p].to(device), keys[p], count, self.settings, passes, e.to(device)).cpu()
            for p, e in estimates
        ]
        return measurement.paste(torch.cat(parts, 1))

    @cached_property
    def _cells(self) -> tuple[Measurement, bool]:
        """The measurement, with points as cells, and whether they are points."""
        if not isinstance(self.measurement.operator, PointValues):
            return self.measurement, False
        return on_cells(self.model.estimate_prior, self.measurement.to("cpu")), True

    @property
    def warning(self) -> str | None:
        ranges = self.model.constants.training_ranges
        return None if ranges is None else warning(torch.cat(self._kriged_cells[1]), ranges)

    @property
    def _estimates(self) -> Estimates:
        return self._kriged_cells[0]

    @cached_property
    def _kriged_cells(self) -> tuple[Estimates, list[Tensor]]:
        """The initial estimates, and the statistics of the out-of-distribution check."""
        estimates, values = [], []
        for part, chunk, estimate in self._kriged(self._cells[0]):
            estimates.append((part, estimate))
            if self.model.constants.training_ranges is not None:
                values.append(self.model.statistics(chunk, estimate.to(self.device)))
        return estimates, values

    def _kriged(self, measurement: Measurement) -> Iterator[tuple[slice, Measurement, InitialEstimate]]:
        """Parts of the batch that the network processes at once, with their initial estimates."""
        step = self.passes.most(self.device, measurement.grid.pixels)
        for i in range(0, len(measurement), step):
            chunk = measurement[i : i + step].to(self.device)
            yield slice(i, i + step), chunk, self.model.initial_estimate(chunk).to("cpu")


class Tiled(Drawing):
    """Every image by overlapping tiles, sampled jointly; points belong to the cells that contain them.

    Raises ValueError where the measurement is no mask, or where a tile has no observed pixel.
    """

    @property
    def size(self) -> int:
        return len(self.measurement) * len(Tiles.of(self.measurement.grid, self.model.constants.reference))

    def mean(self) -> Tensor:
        means = [tiled.mean(self.passes).cpu() for tiled in self._models]
        return self._cells.paste(torch.cat(means))

    @property
    def warning(self) -> str | None:
        """Of the median of the first tiles: single ones may well be plain, or have fewer observed pixels."""
        if (ranges := self.model.constants.training_ranges) is None or self._cells.observed is None:
            return None
        part = self._first
        values = self.model.statistics(part, self.model.initial_estimate(part)).median(0, keepdim=True).values
        message = warning(values, ranges)
        return message and f"the median tile is out of distribution: {message.partition(': ')[2]}"

    @cached_property
    def _first(self) -> Measurement:
        """The first tiles of the first image."""
        tiles, cells, first = (
            Tiles.of(self.measurement.grid, self.model.constants.reference),
            self._cells[0:1],
            slice(0, TIMED),
        )
        assert cells.observed is not None
        mask = Mask(tiles.cut(cells.observed[0], first), cells.grid.channels)
        return Measurement(mask, tiles.cut(cells.y[0], first), noise=cells.noise).to(self.device)

    def seconds(self, count: int) -> float:
        """As the first tiles, each with its initial estimate."""
        part = self._first
        estimate = self.model.initial_estimate(part)
        self.model.mean(part, estimate)  # the first call takes longer
        kriging = _timed(lambda: self.model.initial_estimate(part).mean.cpu())
        call = _timed(lambda: self.model.mean(part, estimate).cpu())
        return (self.size * kriging + self.calls(count) * call) / len(part)

    def samples(self, count: int, first: int = 0) -> Tensor:
        passes = replace(self.passes, first=first)
        drawn = [
            tiled.sample(self.keys[i : i + 1], count, self.settings, passes).cpu()
            for i, tiled in enumerate(self._models)
        ]
        return self._cells.paste(torch.cat(drawn, 1))

    @cached_property
    def _cells(self) -> Measurement:
        return binned(self.measurement)

    @cached_property
    def _models(self) -> list[TiledModel]:
        return [TiledModel(self.model, self._cells[i : i + 1].to(self.device)) for i in range(len(self.measurement))]


def _timed(work: Callable[[], object]) -> float:
    """Seconds that a computation takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
