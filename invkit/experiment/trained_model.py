"""Trained models, loaded from checkpoints."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from numbers import Integral

import torch
from torch import Tensor

from invkit.core.arrays import as_tensor
from invkit.core.cuda_graphs import Replayed
from invkit.core.device import place
from invkit.core.errors import DataError
from invkit.core.grid import Grid, as_grid
from invkit.core.keys import Keys
from invkit.core.progress import Progress, as_progress
from invkit.diffusion import Sample
from invkit.diffusion.constants import Constants
from invkit.diffusion.model import ConditionalModel
from invkit.diffusion.passes import Passes
from invkit.diffusion.samplers import MAX_STEPS, Sampler
from invkit.experiment.calibration import Samples, refusal
from invkit.experiment.drawing import Drawing, Tiled, Whole
from invkit.experiment.run_folder import RunFolder
from invkit.experiment.trained_operator import foreign_operator
from invkit.physics.given import fixed_operator, implied_grid, in_pixel_units
from invkit.physics.measurement import Measurement
from invkit.physics.noise import Noise
from invkit.physics.points import binned
from invkit.recipe.recipe import Recipe
from invkit.reconstructors.calibration import Calibrations, FindCalibrations, none_stored
from invkit.reconstructors.posterior import Posterior
from invkit.training.checkpoint import Checkpoint, best_checkpoint, check_fit, latest_checkpoint

READ = ("average", "constants")  # the parts of a checkpoint that inference needs


@dataclass(frozen=True)
class Trained:
    """A trained run: its recipe, and its model with averaged weights.

    Its methods take a `Measurement` of any number of images on any grid, from `invkit.measure_points`, from `measurement` below
    or from `measure` in `invkit.physics.measurement`, and process it in parts. They warn if measurements are out of distribution,
    and raise ValueError if the number of channels differs from that of the model.
    """

    recipe: Recipe
    model: ConditionalModel
    device: torch.device
    step: int
    folder: RunFolder | None = None  # whose evaluations hold calibrated factors

    def measurement(
        self,
        y: object,  # an array (*range_shape) or (B, *range_shape)
        grid: Grid | int | tuple[int, int] | None = None,
        sigma: float | None = None,
        span: tuple[float, float] = (-1.0, 1.0),
    ) -> Measurement:
        """Values that were measured elsewhere, such as a blurred image, with the operator of the recipe: `y = A x + noise`.

        `grid` is that of the reconstruction, by default the one that y implies. `span` holds the pixel values that mean -1 and 1:
        y is A applied to images in their unit. `sigma` is the noise of y for images in [-1, 1], by default the recipe's. Raises
        ValueError if y does not fit, or if the operator is drawn at random for each image and therefore unknown.
        """
        values, own = as_tensor(y, "y"), self.range_shape(self.reference)
        values = values[None] if values.ndim == len(own) - 1 and own[0] == 1 else values  # the only channel
        values = values[None] if values.ndim == len(own) else values
        shape = tuple(values.shape[1:])
        grid = self.implied_grid(shape) if grid is None else as_grid(grid, self.model.channels)
        operator = fixed_operator(self.recipe.degradation, grid, len(values))
        if operator.range_shape != shape:
            raise ValueError(
                f"y has shape {shape}, and {self.degradation} measures {operator.range_shape} on {grid}; "
                "leave the grid out, or give another"
            )
        if not bool(values.isfinite().all()):
            raise ValueError("y has values that are not finite")
        values = in_pixel_units(operator, values, *span).float()
        return Measurement(operator, values, noise=self.recipe.noise if sigma is None else Noise(sigma=float(sigma)))

    @property
    def degradation(self) -> str:
        """Name of the recipe's degradation."""
        return self.recipe.registry.name_of(self.recipe.degradation) or "degradation"

    @property
    def reference(self) -> Grid:
        """The finest grid of the training."""
        grids = (as_grid(size, self.model.channels) for size in self.recipe.train.grids)
        return max(grids, key=lambda grid: grid.pixels)

    def range_shape(self, grid: Grid) -> tuple[int, ...]:
        """Shape of the values that the recipe's degradation measures on a grid. Raises ValueError if it does not fit the grid."""
        return self.recipe.degradation.sample(Keys.of(0, "shape", [0]), grid).range_shape

    def implied_grid(self, shape: tuple[int, ...]) -> Grid:
        """The grid on which the degradation measures values of a shape. Raises ValueError if none is found."""
        if (grid := implied_grid(self.recipe.degradation, shape, self.reference)) is None:
            own = self.range_shape(self.reference)
            swap = shape[-1:] + shape[:-1] == own or (len(shape) == 3 == len(own) and shape[2] == own[0] != shape[0])
            advice = (
                "channels come first: transpose it to (C, H, W)"
                if swap
                else "give the grid of the reconstruction (--grid)"
            )
            raise ValueError(
                f"y has shape {shape}, and {self.degradation} measures {own} on {self.reference}: {advice}"
            )
        return grid

    def mean(self, measurement: Measurement) -> Tensor:
        """Posterior mean (B, C, H, W); pixels observed without noise have their observed values."""
        return self.drawing(measurement).mean()

    def sample(
        self,
        measurement: Measurement,
        count: int,
        seed: int = 0,
        ids: Sequence[int] | None = None,
        *,
        sampler: Sampler | str | None = None,
        steps: int | None = None,
        progress: bool | Progress | None = None,
    ) -> Tensor:
        """`count` posterior samples (K, B, C, H, W), a function of the seed and of `ids`, by default the positions in the batch.

        `sampler` (a name such as "heun", or an object) and `steps` replace the recipe's. `progress=True` prints the time left; a
        function is called with the network calls done and their total.
        """
        settings = self.sampling(sampler, steps)
        report = as_progress(progress, "sampling")
        drawing = self.drawing(measurement, seed, ids, settings=settings, progress=report, total=count * settings.calls)
        return drawing.samples(check_count(count))

    def posterior(
        self,
        measurement: Measurement,
        count: int = 19,
        seed: int = 0,
        ids: Sequence[int] | None = None,
        tiles: bool = False,
        *,
        sampler: Sampler | str | None = None,
        steps: int | None = None,
        progress: bool | Progress | None = None,
    ) -> Posterior:
        """Mean, samples, standard deviation and intervals, also calibrated, with the other arguments as in `sample`.

        With `tiles` an image is sampled by overlapping tiles, each treated as an image of the training grid: for masks of
        images larger than those of the training. Raises ValueError if a tile has no observed pixel.
        """
        settings = self.sampling(sampler, steps)
        report = as_progress(progress, "sampling")
        total = 1 + check_count(count) * settings.calls
        drawing = self.drawing(measurement, seed, ids, tiles, settings=settings, progress=report, total=total)
        return Posterior(measurement, drawing.mean(), drawing.samples(count), self.calibrations(drawing, count))

    def sampling(self, sampler: Sampler | str | None = None, steps: int | None = None) -> Sample:
        """The sampler settings of the recipe, with another sampler, or another number of steps."""
        settings = self.recipe.sample
        method = settings.method if sampler is None else sampler
        if isinstance(method, str):
            method = self.recipe.registry.get("sampler", method)()
        self.recipe.check_sampler(method)
        if steps is not None and not 1 <= steps <= MAX_STEPS:
            raise ValueError(f"steps should be from 1 to {MAX_STEPS}, got {steps}")
        return settings.model_copy(update={"method": method, "steps": steps or settings.steps})

    def drawing(
        self,
        measurement: Measurement,
        seed: int = 0,
        ids: Sequence[int] | None = None,
        tiles: bool = False,
        *,
        settings: Sample | None = None,
        progress: Progress = lambda done, total: None,
        total: int = 1,
    ) -> Drawing:
        """The posterior before anything is computed; `progress` hears of `total` network calls for each image or tile."""
        self._check(measurement)
        if not isinstance(seed, Integral):
            raise ValueError(f"seed should be a whole number, got {seed!r}")
        keys = Keys.of(int(seed), "posterior", range(len(measurement)) if ids is None else ids, self.device)
        done = 0

        def called(count: int) -> None:
            nonlocal done
            done += count
            progress(done, total * drawing.size)

        settings = settings or self.recipe.sample
        drawing = (Tiled if tiles else Whole)(self.model, measurement, keys, settings, Passes(called=called))
        for message in self.unlike(drawing):
            warnings.warn(message, stacklevel=3)
        return drawing

    def unlike(self, drawing: Drawing) -> list[str]:
        """How measurements differ from those of the training, one line each."""
        cells = binned(drawing.measurement)
        foreign = foreign_operator(self.recipe.degradation, self.degradation, self.reference, cells)
        return [message for message in (foreign, drawing.warning) if message]

    def calibrations(self, drawing: Drawing, count: int) -> FindCalibrations:
        """Finds the calibrated factors that hold for `count` samples of a drawing, when it is called."""
        if why := refusal(drawing, self.recipe, self.unlike(drawing)):
            return partial(none_stored, why)
        return partial(self.stored_calibrations, drawing.measurement.grid, drawing.settings, count)

    def stored_calibrations(self, grid: Grid, settings: Sample, count: int) -> Calibrations:
        """The calibrated factors of the run's evaluations for `count` samples, and why there are no others."""
        if self.folder is None:
            return (), "no calibrated interval: the model is of no run"
        return Samples(self.recipe, self.folder, self.weights, grid, settings, count).calibrations()

    @cached_property
    def weights(self) -> str:
        """SHA-256 of the model's parameters."""
        return weights_sha256(self.model)

    def __repr__(self) -> str:
        grids = ", ".join(str(as_grid(size, 1)) for size in self.recipe.train.grids)
        channels = self.model.channels
        what = f"{self.degradation} on {grids}, {channels} {'channel' if channels == 1 else 'channels'}"
        return f"Trained({what}, step {self.step}, {self.device})"

    def _check(self, measurement: object) -> None:
        if not isinstance(measurement, Measurement):
            raise ValueError(
                f"measurement should be a Measurement, got {type(measurement).__name__}; invkit.measure_points makes one from "
                "points, and trained.measurement(y) from what the operator of the run measured"
            )
        expected, given = self.model.channels, measurement.grid.channels
        if expected != given:
            raise ValueError(
                f"the model is for images with {expected} channels, and the measurement is of images with {given}"
            )


def check_count(count: int) -> int:
    """A number of samples. Raises ValueError for anything but a whole number from 1."""
    if not isinstance(count, Integral) or isinstance(count, bool) or count < 1:
        raise ValueError(f"the number of samples should be a whole number from 1, got {count!r}")
    return int(count)


def weights_sha256(*models: ConditionalModel | Mapping[str, Tensor]) -> str:
    """SHA-256 of the names and values of all parameters, of models or by name."""
    digest = hashlib.sha256()
    for model in models:
        named = model.items() if isinstance(model, Mapping) else model.named_parameters()
        for name, p in sorted(named):
            digest.update(name.encode() + p.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def load_trained(recipe: Recipe, folder: RunFolder, device: torch.device) -> Trained | None:
    """The model from the checkpoint that the recipe evaluates, the last or the best; None if there is no checkpoint yet.

    Raises DataError if the checkpoint is damaged or does not fit.
    """
    checkpoint = evaluated(folder, recipe.eval.checkpoint == "best")
    return None if checkpoint is None else replace(from_checkpoint(recipe, checkpoint, device), folder=folder)


def evaluated(folder: RunFolder, best: bool) -> Checkpoint | None:
    """The checkpoint that is evaluated, the last or the best one; None if there is no checkpoint yet."""
    if folder.model:
        return folder.model.checkpoint
    checkpoint = best_checkpoint(folder.checkpoints, READ) if best else None
    return checkpoint or latest_checkpoint(folder.checkpoints, READ)


def finished(recipe: Recipe, checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint ends the training."""
    if recipe.train.total is not None:
        return checkpoint.step >= recipe.train.total
    return checkpoint.meta.get("seconds", 0.0) >= (recipe.train.seconds or 0)


def unfinished(recipe: Recipe, folder: RunFolder) -> str | None:
    """One line that says where an unfinished training stands; None for a finished one."""
    checkpoint = folder.model.checkpoint if folder.model else latest_checkpoint(folder.checkpoints, ())
    if checkpoint is None or finished(recipe, checkpoint):
        return None
    done = f"step {checkpoint.step} of {recipe.train.total}"
    if recipe.train.total is None:
        done = f"{checkpoint.meta.get('seconds', 0.0):.0f} s of {recipe.train.budget}"
    if folder.model:
        return f"the training was not finished when the model was exported ({done})"
    return f"the training is not finished ({done}); `invkit run` with its recipe resumes it"


def from_checkpoint(recipe: Recipe, checkpoint: Checkpoint, device: torch.device) -> Trained:
    """The model with a checkpoint's averaged weights."""
    model = rebuild(recipe, checkpoint)
    load_weights(model, checkpoint.tensors["average"])
    if recipe.train.graph == "auto" and device.type == "cuda":
        model.replayed = Replayed(model.network)
    return Trained(recipe, place(model, device).eval(), device, checkpoint.step)


def rebuild(recipe: Recipe, checkpoint: Checkpoint) -> ConditionalModel:
    """A model with the constants of a checkpoint; its weights are not loaded yet."""
    try:
        constants = Constants.of(checkpoint.tensors["constants"], recipe.model.fill)
    except DataError:
        raise
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"the checkpoint has invalid constants ({error!r}); use --fresh") from None
    return ConditionalModel(recipe.model, recipe.diffusion, constants, recipe.train.precision)


def load_weights(model: ConditionalModel, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into a model in place. Raises DataError, with the first difference, if they do not fit."""
    check_fit(dict(model.named_parameters()), weights)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(weights[name])
