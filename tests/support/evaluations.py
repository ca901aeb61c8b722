"""Images of independent pixels, methods whose scores are known in closed form, and their evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from invkit.core.distributed import ALONE, World
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Images
from invkit.evaluation.cache import ResultCache
from invkit.evaluation.evaluator import Evaluation, evaluate_rows
from invkit.evaluation.metrics import by_name
from invkit.evaluation.protocol import Protocol
from invkit.evaluation.settings import Eval
from invkit.physics.degradation import Degradation
from invkit.physics.measurement import Measurement, Noise
from invkit.physics.operators.base import LinearOperator
from invkit.physics.operators.mask import Mask
from invkit.reconstructors.base import Reconstructor

DEVIATION = 0.3
GRID = Grid(16, 16)


class Draws(Images):
    """Independent pixels N(0, DEVIATION^2); each `share` consecutive images form one group."""

    def __init__(self, count: int = 48, share: int = 1, grid: Grid = GRID) -> None:
        self.grid, self.count, self.share = grid, count, share
        self.asked: list[int] = []  # ids of all images read, in order

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        self.asked += ids
        return DEVIATION * Keys.of(7, "draws", ids).normal("x", *self.grid.picture)

    def group(self, image_id: int) -> str:
        return str(image_id // self.share)


class Coins(Degradation):
    """Each pixel is observed with probability `share`."""

    share: float = 0.3

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        return Mask(keys.uniform("coins", 1, *grid.shape) < self.share)


class Exact(Reconstructor):
    """The posterior of `Draws`, with the deviation of samples from the mean scaled by `shrink`; records its measurements."""

    readouts = ("mean", "sample")

    def __init__(self, name: str = "gaussian", shrink: float = 1.0, bias: float = 0.0) -> None:
        self.name, self.shrink, self.bias = name, shrink, bias
        self.shown: list[Measurement] = []

    def nfe(self, readout: str) -> int:
        return 1 if readout == "mean" else 11

    def mean(self, measurement: Measurement) -> Tensor:
        self.shown.append(measurement)
        return measurement.paste(torch.full_like(measurement.y, self.bias))

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        self.shown.append(measurement)
        noise = keys.fork(count).normal("noise", *measurement.grid.picture).unflatten(0, (count, -1))
        return measurement.paste(self.bias + self.shrink * DEVIATION * noise)


class Flat(Reconstructor):
    """A constant point estimate that ignores the observed values."""

    name, readouts = "flat", ("point",)

    def __init__(self, value: float = 0.25) -> None:
        self.value = value

    def nfe(self, readout: str) -> int:
        return 0

    def mean(self, measurement: Measurement) -> Tensor:
        return torch.full_like(measurement.y, self.value)

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        raise AssertionError("a point has no samples")


def table_of(
    *methods: Reconstructor,
    source: Images | None = None,
    sigma: float = 0.0,
    seed: int = 3,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cache: ResultCache | None = None,
    world: World = ALONE,
    **settings: Any,
) -> Evaluation:
    images = source or Draws()
    protocol = protocol_of(Eval(**settings), Noise(sigma=sigma), seed=seed)
    return evaluate_rows(methods, {images.grid: images}, protocol, progress=progress, cache=cache, world=world)


def protocol_of(settings: Eval, noise: Noise = Noise(), **changes: Any) -> Protocol:  # noqa: B008
    """The protocol of a toy evaluation."""
    cpu, metrics = torch.device("cpu"), by_name(settings.metrics)
    return replace(Protocol("toy", "coins", Coins(), noise, settings, metrics, 3, cpu), **changes)


def row(result: Evaluation, method: str, readout: str) -> dict:
    return next(r for r in result.table["rows"] if (r["method"], r["readout"]) == (method, readout))
