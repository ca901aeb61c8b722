"""A trained model, and how it comes out of a checkpoint."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.core.device import place
from invkit.core.errors import DataError
from invkit.core.keys import Keys
from invkit.diffusion.conditioning import InitialEstimate
from invkit.diffusion.constants import Constants
from invkit.diffusion.model import ConditionalModel
from invkit.diffusion.out_of_distribution import warning
from invkit.diffusion.tiling import TiledModel
from invkit.experiment.run_folder import RunFolder
from invkit.physics.measurement import Measurement
from invkit.recipe.recipe import Recipe
from invkit.reconstructors.posterior import Posterior
from invkit.training.checkpoint import Checkpoint, best_checkpoint, check_fit, latest_checkpoint

CELLS = 1 << 18  # in the network at once: 256 images of 32x32
READ = ("average", "constants")  # the files of a checkpoint that a trained model needs


@dataclass(frozen=True)
class Trained:
    """A trained run: its recipe, and its model with averaged weights.

    Its methods take a `Measurement` of any number of images on any grid, from `invkit.measure_points` or from `measure` in
    `invkit.physics.measurement`, and process it in parts. They warn where measurements are out of distribution, and raise
    ValueError where the number of channels differs from the model's.
    """

    recipe: Recipe
    model: ConditionalModel
    device: torch.device
    step: int

    def mean(self, measurement: Measurement) -> Tensor:
        """Posterior mean (B, C, H, W), with exactly known pixels put in."""
        return self._mean(measurement, self._estimates(measurement))

    def sample(self, measurement: Measurement, count: int, seed: int = 0, ids: Sequence[int] | None = None) -> Tensor:
        """`count` posterior samples (K, B, C, H, W), a function of the seed and of `ids`, by default the places in the batch."""
        estimates = self._estimates(measurement)
        return self._sample(measurement, estimates, count, self._keys(measurement, seed, ids))

    def posterior(
        self,
        measurement: Measurement,
        count: int = 19,
        seed: int = 0,
        ids: Sequence[int] | None = None,
        tiles: bool = False,
    ) -> Posterior:
        """Mean, samples, standard deviation and intervals, with `count`, `seed` and `ids` as in `sample`.

        With `tiles` an image is sampled by overlapping tiles, each treated as an image of the training grid: for masks of
        images larger than those of the training. Raises ValueError where a tile has no observed pixel.
        """
        keys = self._keys(measurement, seed, ids)
        if not tiles:
            estimates = self._estimates(measurement)
            mean = self._mean(measurement, estimates)
            return Posterior(measurement, mean, self._sample(measurement, estimates, count, keys))
        self._check(measurement)
        means, samples = [], []
        for i in range(len(measurement)):
            one = slice(i, i + 1)
            model = TiledModel(self.model, measurement[one].to(self.device))
            means.append(model.mean().cpu())
            samples.append(model.sample(keys[one], count, self.recipe.sample).cpu())
        return Posterior(measurement, measurement.paste(torch.cat(means)), measurement.paste(torch.cat(samples, 1)))

    def _keys(self, measurement: Measurement, seed: int, ids: Sequence[int] | None) -> Keys:
        return Keys.of(seed, "posterior", range(len(measurement)) if ids is None else ids, self.device)

    def _estimates(self, measurement: Measurement) -> list[tuple[slice, InitialEstimate]]:
        """The initial estimate of each part of the batch, on the CPU.

        Warns of measurements that are out of distribution, where the checkpoint has the ranges of the training.
        """
        known, estimates, values = self.model.constants.training_ranges, [], []
        for part in self._parts(measurement):
            own = measurement[part].to(self.device)
            estimate = self.model.initial_estimate(own)
            estimates.append((part, estimate.to("cpu")))
            if known is not None:
                values.append(self.model.statistics(own, estimate))
        if known is not None and (said := warning(torch.cat(values), known)):
            warnings.warn(said, stacklevel=3)
        return estimates

    def _mean(self, measurement: Measurement, estimates: list[tuple[slice, InitialEstimate]]) -> Tensor:
        device = self.device
        parts = [self.model.mean(measurement[part].to(device), e.to(device)).cpu() for part, e in estimates]
        return measurement.paste(torch.cat(parts))

    def _sample(
        self, measurement: Measurement, estimates: list[tuple[slice, InitialEstimate]], count: int, keys: Keys
    ) -> Tensor:
        settings, device = self.recipe.sample, self.device
        chunk = max(1, min(256, CELLS // measurement.grid.pixels))
        parts = [
            self.model.sample(measurement[part].to(device), keys[part], count, settings, chunk, e.to(device)).cpu()
            for part, e in estimates
        ]
        return measurement.paste(torch.cat(parts, 1))

    def _parts(self, measurement: Measurement) -> Iterator[slice]:
        """The parts of a batch, of as many images as are in the network at once."""
        self._check(measurement)
        step = max(1, CELLS // measurement.grid.pixels)
        return (slice(i, i + step) for i in range(0, len(measurement), step))

    def _check(self, measurement: Measurement) -> None:
        own, given = self.model.channels, measurement.grid.channels
        if own != given:
            raise ValueError(
                f"the model is for images with {own} channels, and the measurement is of images with {given}"
            )


def load_trained(recipe: Recipe, folder: RunFolder, device: torch.device) -> Trained | None:
    """The weights that the recipe evaluates, the last or the best; None where there is no checkpoint yet.

    Raises DataError where they are damaged or do not fit.
    """
    checkpoint = best_checkpoint(folder.checkpoints, READ) if recipe.eval.checkpoint == "best" else None
    checkpoint = checkpoint or latest_checkpoint(folder.checkpoints, READ)
    return None if checkpoint is None else trained_from(recipe, checkpoint, device)


def trained_from(recipe: Recipe, checkpoint: Checkpoint, device: torch.device) -> Trained:
    """The model with a checkpoint's averaged weights."""
    model = rebuild(recipe, checkpoint)
    load_weights(model, checkpoint.tensors["average"])
    return Trained(recipe, place(model, device).eval(), device, checkpoint.step)


def rebuild(recipe: Recipe, checkpoint: Checkpoint) -> ConditionalModel:
    """A model with the constants of a checkpoint, its weights not loaded yet."""
    try:
        constants = Constants.of(checkpoint.tensors["constants"], recipe.model.fill)
    except DataError:
        raise
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"the checkpoint's constants are not those of a model ({error!r}); use --fresh") from None
    return ConditionalModel(recipe.model, recipe.diffusion, constants, recipe.train.precision)


def load_weights(model: ConditionalModel, weights: Mapping[str, Tensor]) -> None:
    """Fill a model in place; raises DataError, with the first difference, where the weights do not fit."""
    check_fit(dict(model.named_parameters()), weights)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(weights[name])
