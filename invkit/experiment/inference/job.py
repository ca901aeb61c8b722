"""Somebody's own pictures and points, rebuilt by a trained run: mean, samples, deviation and intervals in a folder."""

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invkit.core.errors import DataError, NonFiniteError, RecipeError
from invkit.core.files import locked, make_folder, write_atomic
from invkit.core.grid import Grid, as_grid
from invkit.core.keys import Keys
from invkit.diffusion.tiling import Tiles, blind_tile
from invkit.evaluation.metrics import METRICS, Outcome, Unavailable
from invkit.evaluation.metrics.base import Readout
from invkit.evaluation.report.images import deviation_png, measured_png, picture_png, sample_sheet
from invkit.experiment.inference.image_files import Source, find_sources, picture_grid, read_mask, read_picture
from invkit.experiment.inference.point_files import read_points
from invkit.experiment.trained_model import Trained
from invkit.physics.degradations import Nothing
from invkit.physics.gaussian.kriging import solvable
from invkit.physics.measurement import Measurement, measure, measure_points
from invkit.reconstructors.posterior import Posterior

SCHEMA = "invkit.reconstruct/1"
RECORD = "reconstruct.json"
SHOWN = 4  # samples that become pictures; all are in the .npz
INTERVAL = 90  # per cent
WHOLE = 2  # pictures of at most so many times the trained grid are rebuilt as a whole
VALUES = 1 << 28  # of all samples of one input


@dataclass(frozen=True)
class Options:
    """How inputs are read and asked about."""

    mask: Path | None = None  # of pictures that are already degraded
    grid: str | None = None  # N, HxW or picture; None: a picture's own, or the trained one for points
    tiles: bool | None = None  # None: where a masked picture is large and every tile sees something
    samples: int = 19
    seed: int = 0
    span: tuple[float, float] | None = None  # what stands for -1 and 1 in files of points


def reconstruct(
    trained: Trained, run: str, inputs: Sequence[Path], out: Path, options: Options, say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Rebuild every input into `out` and yield what is said of it in `reconstruct.json`, when its files are whole.

    Everything that can be refused before the work is, in one line: RecipeError for what was asked, DataError for what was
    given. The same inputs, options and weights make the same bytes.
    """
    sources = find_sources(inputs)
    for option, value, kind in (("--mask", options.mask, "pictures"), ("--range", options.span, "points")):
        if value is not None and not any(source.points == (kind == "points") for source in sources):
            raise RecipeError(f"{option} is for {kind}, and there are none; leave it out")
    job = _Job(trained, options, say)
    _claim(out, inputs)
    with locked(out):
        for source in sources:
            job.check(source)
        record = {"schema": SCHEMA, "run": run, "step": trained.step, "samples": options.samples, "seed": options.seed}
        outputs: list[dict[str, Any]] = []
        write_atomic(out / RECORD, _dump(record | {"outputs": outputs}))  # says whose the folder is
        for source in sources:
            outputs.append(job.rebuild(source, out))
            write_atomic(out / RECORD, _dump(record | {"outputs": outputs}))
            yield outputs[-1]


def _claim(out: Path, inputs: Sequence[Path]) -> None:
    for path in inputs:
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise RecipeError(f"{out} lies in {path}, whose pictures are read; give another folder with --out DIR")
    if out.exists() and not (out / RECORD).is_file() and any(p.name[0] != "." for p in out.iterdir()):
        raise RecipeError(
            f"{out} is not empty and holds no earlier reconstructions; give another folder with --out DIR"
        )
    make_folder(out)


def _dump(data: Any) -> str:
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def parse_grid(text: str) -> int | tuple[int, int] | None:
    """Cells along the shorter side, `N`, or height and width, `HxW`; None for `picture`.

    >>> parse_grid("48"), parse_grid("30x41"), parse_grid("picture")
    (48, (30, 41), None)
    """
    if text == "picture":
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)
    if not found:
        raise RecipeError(f"--grid {text}: want a number, height x width as in 48x64, or picture")
    return (int(found[1]), int(found[2])) if found[2] else int(found[1])


def at_centres(
    x: Tensor,  # (1, C, H, W)
    observed: Tensor,  # (1, 1, H, W)
) -> tuple[Tensor, Tensor]:
    """The observed pixels as points: coordinates (N, 2) and values (N, C)."""
    rows, columns = observed[0, 0].nonzero().unbind(1)
    size = torch.tensor([x.shape[3], x.shape[2]], dtype=torch.float64)
    return (torch.stack([columns, rows], 1) + 0.5) / size, x[0, :, rows, columns].T


class _Job:
    """One command: its options checked against the run, and what is done for one input after the other."""

    def __init__(self, trained: Trained, options: Options, say: Callable[[str], None]) -> None:
        self.trained, self.options, self.say = trained, options, say
        self.recipe, self.channels = trained.recipe, trained.model.channels
        self.shape = parse_grid(options.grid) if options.grid else None
        self.mask = read_mask(options.mask) if options.mask else None
        if self.mask is not None and isinstance(self.shape, tuple):
            raise RecipeError("--mask goes with the aspect that a picture has; give --grid N, or leave it out")
        if isinstance(self.recipe.degradation, Nothing):
            raise RecipeError("this run learned what pictures look like and nothing of measurements; give another one")
        low, high = self.span = options.span or (-1.0, 1.0)
        if not low < high:
            raise RecipeError(f"--range {low:g} {high:g}: the first number must be the smaller one")
        if options.samples < 1:
            raise RecipeError("--samples: at least one is needed")

    def grid(self, source: Source) -> Grid:
        """The grid that an input is rebuilt on."""
        if isinstance(self.shape, tuple):
            return Grid(*self.shape, self.channels)
        if not source.points:
            own = picture_grid(source.path, self.channels)
            if self.shape is None:
                return own
            height, width = (max(1, round(length * self.shape)) for length in own.extent)
            return Grid(height, width, self.channels)
        if self.options.grid == "picture":
            raise RecipeError(f"{source}: points have no grid of their own; give --grid N or HxW, or leave it out")
        finest = max((as_grid(size, self.channels) for size in self.recipe.train.grids), key=lambda g: g.pixels)
        return as_grid(self.shape, self.channels) if self.shape else finest

    def check(self, source: Source) -> None:
        """Raises DataError or RecipeError for what can be refused before any work."""
        grid, count = self.grid(source), self.options.samples
        if source.points:
            read_points(source.path, self.channels, *self.span)
        elif self.mask is not None and (own := picture_grid(source.path, 1)).shape != tuple(self.mask.shape[2:]):
            height, width = self.mask.shape[2:]
            raise DataError(
                f"{source}: {own.width}x{own.height} pixels, and the mask {self.options.mask} has {width}x{height}; "
                "they must be the same"
            )
        if grid.pixels * self.channels * count > VALUES:
            raise DataError(
                f"{source}: {count} samples on {grid} are more than {VALUES:,} values; give a coarser --grid or fewer --samples"
            )

    def measured(self, source: Source, grid: Grid) -> tuple[Measurement, Tensor | None]:
        """What is seen of an input, and the truth (1, C, H, W) where the recipe degrades it."""
        sigma = self.recipe.noise.sigma
        if source.points:
            coordinates, values = read_points(source.path, self.channels, *self.span)
            return measure_points(coordinates, values, grid, sigma), None
        if self.mask is not None:
            x = read_picture(source.path, picture_grid(source.path, self.channels))
            return measure_points(*at_centres(x, self.mask), grid, sigma), None
        x = read_picture(source.path, grid)
        keys = Keys.of(self.options.seed, "reconstruct", [_number(source.name)])
        try:
            operator = self.recipe.degradation.sample(keys.child("operator"), grid)
            return measure(operator, x, self.recipe.noise, keys.child("noise")), x
        except ValueError as error:
            raise DataError(
                f"{source}: {self.degradation} does not fit {grid} ({error}); give another --grid"
            ) from None

    @property
    def degradation(self) -> str:
        return self.recipe.registry.name_of(self.recipe.degradation) or "degradation"

    def tiles(self, source: Source, measurement: Measurement) -> Tiles | None:
        """The tiles that an input is rebuilt by; None for the whole of it at once."""
        wanted, grid, side = self.options.tiles, measurement.grid, self.trained.model.constants.reference
        if wanted is False or (wanted is None and min(grid.shape) <= WHOLE * side):
            return None
        tiles = Tiles.of(grid, side)
        if measurement.observed is None:
            if wanted:
                raise DataError(f"{source}: {self.degradation} is no mask, and tiles are for masks; leave --tiles out")
            return None
        if (blind := blind_tile(measurement, tiles)) is None:
            return tiles
        if wanted:
            raise DataError(
                f"{source}: the tile of {tiles.grid} cells at row {blind[0]}, column {blind[1]} sees nothing; leave --tiles out"
            )
        return None

    def rebuild(self, source: Source, out: Path) -> dict[str, Any]:
        """Rebuild one input, write its files, and return what is said of it."""
        grid = self.grid(source)
        measurement, truth = self.measured(source, grid)
        tiles = self.tiles(source, measurement)
        said: dict[str, Any] = {
            "input": str(source), "name": source.name, "grid": list(grid.shape), "tiles": tiles and len(tiles),
            "observed": None if measurement.observed is None else int(measurement.observed.sum()),
            "degraded_by": None if truth is None else self.degradation, "noise": measurement.sigma,
        }  # fmt: skip
        if truth is not None:
            self.say(f"{source}: degraded by the recipe ({self.degradation}); give --mask FILE if it is already")
        if tiles is None and not _solved(measurement):
            self.say(
                f"{source}: a mask of so many pixels is beyond what the run was trained on: its deviation is not to be trusted; "
                "give a coarser --grid N"
            )
        how = f"by {len(tiles)} tiles of {tiles.grid}" if tiles else "as a whole"
        self.say(f"{source}: {self.options.samples} samples on {grid}, {how}")
        posterior = self.trained.posterior(
            measurement, self.options.samples, self.options.seed, [_number(source.name)], tiles is not None
        )
        if not bool(posterior.mean.isfinite().all() and posterior.samples.isfinite().all()):
            raise NonFiniteError(f"{source}: the result is not finite; look at its values, or at the run's training")
        if truth is not None:
            said |= {"scores": (found := scores(truth, posterior))}
            self.say(f"{source}: " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()))
        return said | self._write(source.name, posterior, truth, out)

    def _write(self, name: str, posterior: Posterior, truth: Tensor | None, out: Path) -> dict[str, Any]:
        """Write the files of one input, each whole, and return their names and what they cannot say themselves."""
        arrays = {"mean": posterior.mean[0], "samples": posterior.samples[:, 0], "y": posterior.measurement.y[0]}
        pictures = {"measured": measured_png(posterior.measurement), "mean": picture_png(posterior.mean[0])}
        pictures |= {f"sample_{k + 1}": picture_png(x[0]) for k, x in enumerate(posterior.samples[:SHOWN])}
        said: dict[str, Any] = {"interval": None, "deviation_scale": None}
        if posterior.measurement.observed is not None:
            arrays["observed"] = posterior.measurement.observed[0]
        if len(posterior.samples) > 1:
            arrays["deviation"] = posterior.deviation[0]
            pictures["deviation"], said["deviation_scale"] = deviation_png(posterior.deviation[0])
        try:
            ends = posterior.interval(INTERVAL)
        except ValueError as why:
            self.say(f"{name}: {why}")
        else:
            said["interval"] = INTERVAL
            for end, x in zip(("lower", "upper"), ends, strict=True):
                arrays[end], pictures[end] = x[0], picture_png(x[0])
        deviation = posterior.deviation if "deviation" in arrays else None
        pictures["sheet"] = sample_sheet(
            truth, posterior.measurement, None, posterior.mean, posterior.samples, deviation
        )
        for stem, data in pictures.items():
            write_atomic(out / name / f"{stem}.png", data)
        for old in (out / name).glob("*.png"):  # of more samples
            if old.stem not in pictures:
                old.unlink()
        packed = io.BytesIO()
        numbers = {key: x.numpy() if x.dtype == torch.bool else x.float().numpy() for key, x in arrays.items()}
        np.savez_compressed(packed, allow_pickle=False, **numbers)  # dates every entry 1980-01-01
        write_atomic(out / f"{name}.npz", packed.getvalue())
        return said | {"arrays": f"{name}.npz", "pictures": [f"{name}/{stem}.png" for stem in pictures]}


def _solved(measurement: Measurement) -> bool:
    """Whether a model that starts from kriging at a mask knows the deviation of that, see `invkit.physics.gaussian.kriging`."""
    if measurement.observed is None:
        return True
    seen, (height, width) = int(measurement.observed.sum()), measurement.grid.shape
    values = min(seen, height * width - seen if measurement.sigma == 0 else seen)
    return solvable(values, Grid(height, width, 1))  # a fill is solved channel by channel


def _number(name: str) -> int:
    """The key of a picture: a function of its name, so that inputs beside it change nothing."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest(), "little")


def scores(truth: Tensor, posterior: Posterior) -> dict[str, float]:
    """PSNR of the mean and CRPS of the samples, as in the table; what is not defined is left out."""
    found: dict[str, float] = {}
    rows: list[tuple[str, Readout, Tensor, Tensor | None]] = [
        ("psnr", "mean", posterior.mean, None), ("crps", "sample", posterior.samples[0], posterior.samples),
    ]  # fmt: skip
    for name, readout, estimate, samples in rows:
        metric = METRICS[name]()
        try:
            parts = metric.components(Outcome(truth, posterior.measurement, readout, estimate, samples))
        except Unavailable:
            continue
        with np.errstate(invalid="ignore"):
            value = float(metric.reduce({key: part.numpy().mean() for key, part in parts.items()}))
        if np.isfinite(value):
            found[name] = float(f"{value:.6g}")
    return found
