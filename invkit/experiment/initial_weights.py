"""`train.init`: a training that starts from the averaged weights of another run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invkit.core.errors import DataError, RecipeError
from invkit.diffusion.model import ConditionalModel
from invkit.experiment.run_folder import RunFolder, flat
from invkit.experiment.trained_model import evaluated, weights_sha256
from invkit.training.checkpoint import Checkpoint
from invkit.training.initialise import take_weights

SHOWN = 8  # parameters that keep their own values, in a message


@dataclass(frozen=True)
class InitialWeights:
    """The averaged weights of another run."""

    source: str
    checkpoint: Checkpoint

    def give(self, model: ConditionalModel, say: Callable[[str], None]) -> dict[str, Any]:
        """Copy the weights into a model where name and shape agree, say where not, and return what `record.json` states.

        Raises RecipeError if no parameter agrees.
        """
        weights = self.checkpoint.tensors["average"]
        kept = take_weights(model, weights)
        count = len(list(model.parameters()))
        if len(kept) == count:
            name, why = next(iter(kept.items()))
            raise RecipeError(
                f"train.init: {self.source} has no parameter of the recipe's model (such as {name}: {why}); leave train.init "
                "out, or give the model section of that run"
            )
        text = f"train.init: {count - len(kept)} of {count} parameters start from {self.source}, step {self.checkpoint.step}"
        if kept:
            shown = ", ".join(f"{name} ({why})" for name, why in list(kept.items())[:SHOWN])
            more = f" and {len(kept) - SHOWN} more, listed in record.json" if len(kept) > SHOWN else ""
            text += f"; not taken: {shown}{more}"
        say(text)
        return {
            "from": self.source,
            "step": self.checkpoint.step,
            "weights_sha256": weights_sha256(weights),
            "not_taken": kept,
        }


def find_weights(source: str) -> InitialWeights:
    """The weights that a run evaluates, the last or the best. Raises DataError if there are none; no plugin is needed."""
    try:
        folder = RunFolder.find(Path(source))
        checkpoint = evaluated(folder, flat(folder.settings).get("eval.checkpoint") == "best")
        if checkpoint is None:
            raise DataError(f"{source} has no checkpoint yet; `invkit run` with its recipe resumes the training")
    except DataError as error:
        raise DataError(f"train.init: {error}") from None
    return InitialWeights(source, checkpoint)
