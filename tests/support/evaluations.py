"""Pictures of independent pixels, methods whose figures are known in closed form, and the table of both."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from invkit.data.base import Images
from invkit.degradation import Degradation, Measurement, Noise
from invkit.distributed import ALONE, World
from invkit.evaluation import Eval, Evaluation, evaluate_rows
from invkit.grid import Grid
from invkit.keys import Keys
from invkit.operators import LinearOperator, Mask
from invkit.partial import Partial
from invkit.reconstruct.base import Reconstructor

DEVIATION = 0.3
GRID = Grid(16, 16)


class Draws(Images):
    """Independent pixels N(0, DEVIATION^2); every `share` pictures in a row count as one photograph."""

    def __init__(self, count: int = 48, share: int = 1, grid: Grid = GRID) -> None:
        self.grid, self.count, self.share = grid, count, share

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        return DEVIATION * Keys.of(7, "draws", ids).normal("x", *self.grid.picture)

    def group(self, image_id: int) -> str:
        return str(image_id // self.share)


class Coins(Degradation):
    """Each pixel is seen with some probability."""

    share: float = 0.3

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        return Mask(keys.uniform("coins", 1, *grid.shape) < self.share)


class Exact(Reconstructor):
    """The posterior of `Draws`, its samples shrunk to their mean by `shrink`; it keeps what it was shown."""

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
    """A point estimate that pastes nothing."""

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
    shelf: Partial | None = None,
    world: World = ALONE,
    **settings: int,
) -> Evaluation:
    images = source or Draws()
    return evaluate_rows(
        methods, {images.grid: images}, Coins(), Noise(sigma=sigma), Eval(**settings),
        seed=seed, device=torch.device("cpu"), run="toy", degradation_name="coins", progress=progress,
        shelf=shelf, world=world,
    )  # fmt: skip


def row(result: Evaluation, method: str, readout: str) -> dict:
    return next(r for r in result.table["rows"] if (r["method"], r["readout"]) == (method, readout))
