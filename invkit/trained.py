"""A trained model, and how it comes out of a checkpoint."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.checkpoint import Checkpoint, best_checkpoint, check_fit, latest_checkpoint
from invkit.degradation import Measurement
from invkit.device import place
from invkit.diffusion.familiar import warning
from invkit.diffusion.model import ConditionalModel, Constants
from invkit.errors import DataError
from invkit.keys import Keys
from invkit.recipe import Recipe
from invkit.runfolder import RunFolder

READ = ("average", "constants")  # the files of a checkpoint that a trained model is made of


@dataclass(frozen=True)
class Trained:
    """A trained run: its recipe, and its model with averaged weights, ready to be asked.

    `mean` and `sample` take a `Measurement`, made by `invkit.measure_points` or by `measure` in `invkit.degradation`; they
    warn where it looks unlike those of the training.
    """

    recipe: Recipe
    model: ConditionalModel
    device: torch.device
    step: int

    def mean(self, measurement: Measurement) -> Tensor:
        """Posterior mean (B, C, H, W), observed pixels pasted where they are exact."""
        self._notice(measurement)
        return measurement.paste(self.model.mean(measurement.to(self.device)).cpu())

    def sample(self, measurement: Measurement, count: int, seed: int = 0) -> Tensor:
        """`count` posterior samples (K, B, C, H, W), a function of the seed and the place in the batch."""
        self._notice(measurement)
        keys = Keys.of(seed, "posterior", range(len(measurement)), self.device)
        return measurement.paste(self.model.sample(measurement.to(self.device), keys, count, self.recipe.sample).cpu())

    def _notice(self, measurement: Measurement) -> None:
        """Warn of measurements that look unlike those of the training, where the checkpoint knows what those were like."""
        known = self.model.constants.familiar
        if known is not None and (said := warning(self.model.statistics(measurement.to(self.device)), known)):
            warnings.warn(said, stacklevel=3)


def evaluated(recipe: Recipe, folder: RunFolder, device: torch.device) -> Trained | None:
    """The weights that the recipe evaluates, the last or the best; None where there is no checkpoint yet.

    Raises DataError where they are damaged or do not fit.
    """
    checkpoint = best_checkpoint(folder.checkpoints, READ) if recipe.eval.checkpoint == "best" else None
    checkpoint = checkpoint or latest_checkpoint(folder.checkpoints, READ)
    return None if checkpoint is None else averaged(recipe, checkpoint, device)


def averaged(recipe: Recipe, checkpoint: Checkpoint, device: torch.device) -> Trained:
    """The model with a checkpoint's averaged weights."""
    model = rebuild(recipe, checkpoint)
    put(model, checkpoint.tensors["average"])
    return Trained(recipe, place(model, device).eval(), device, checkpoint.step)


def rebuild(recipe: Recipe, checkpoint: Checkpoint) -> ConditionalModel:
    """An unfilled model with the measured constants of a checkpoint."""
    try:
        constants = Constants.of(checkpoint.tensors["constants"])
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"the checkpoint's constants are not those of a model ({error!r}); use --fresh") from None
    return ConditionalModel(recipe.model, recipe.diffusion, constants, recipe.train.precision)


def put(model: ConditionalModel, weights: Mapping[str, Tensor]) -> None:
    """Fill a model in place; raises DataError, with the first difference, where the weights do not fit."""
    check_fit(dict(model.named_parameters()), weights)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(weights[name])
