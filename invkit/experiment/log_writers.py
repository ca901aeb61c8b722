"""Where a training is logged besides metrics.jsonl: TensorBoard, Weights & Biases, MLflow."""

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any

import yaml

from invkit.experiment.run_folder import RunFolder


class LogWriter(ABC):
    """Opened with the run folder and the step that the training goes on from; each method may raise what it likes."""

    @abstractmethod
    def __init__(self, folder: RunFolder, step: int) -> None: ...

    @abstractmethod
    def scalars(self, values: dict[str, float], step: int) -> None: ...

    @abstractmethod
    def image(self, name: str, pixels: Any, step: int) -> None:
        """RGB values (H, W, 3), 8 bits."""

    @abstractmethod
    def figure(self, name: str, figure: Any, step: int) -> None:
        """A matplotlib figure."""

    @abstractmethod
    def close(self) -> None: ...


class TensorBoard(LogWriter):
    """Files in the folder `tensorboard` of the run."""

    def __init__(self, folder: RunFolder, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(folder.tensorboard, purge_step=step + 1)

    def scalars(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def image(self, name: str, pixels: Any, step: int) -> None:
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def figure(self, name: str, figure: Any, step: int) -> None:
        self._writer.add_figure(name, figure, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases(LogWriter):
    """A run of the project `invkit`, named after the folder; a resumed training is a run of its own."""

    def __init__(self, folder: RunFolder, step: int) -> None:
        self._wandb = import_module("wandb")
        self._run = self._wandb.init(project="invkit", name=folder.name, dir=str(folder.path), config=_settings(folder))

    def scalars(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def image(self, name: str, pixels: Any, step: int) -> None:
        self._run.log({name: self._wandb.Image(pixels)}, step=step)

    def figure(self, name: str, figure: Any, step: int) -> None:
        self._run.log({name: self._wandb.Image(figure)}, step=step)

    def close(self) -> None:
        self._run.finish()


class MLflow(LogWriter):
    """A run of the experiment `invkit`, named after the folder; a resumed training is a run of its own."""

    def __init__(self, folder: RunFolder, step: int) -> None:
        self._mlflow = import_module("mlflow")
        self._mlflow.set_experiment("invkit")
        self._mlflow.start_run(run_name=folder.name)
        self._mlflow.log_dict(_settings(folder), "recipe.yaml")

    def scalars(self, values: dict[str, float], step: int) -> None:
        self._mlflow.log_metrics({name.replace("@", "_at_"): value for name, value in values.items()}, step=step)

    def image(self, name: str, pixels: Any, step: int) -> None:
        self._mlflow.log_image(pixels, f"{name}/{step:06d}.png")

    def figure(self, name: str, figure: Any, step: int) -> None:
        self._mlflow.log_figure(figure, f"{name}/{step:06d}.png")

    def close(self) -> None:
        self._mlflow.end_run()


def _settings(folder: RunFolder) -> dict[str, Any]:
    """The resolved recipe, where it is written already."""
    file = folder.path / "resolved.yaml"
    return yaml.safe_load(file.read_text("utf-8")) if file.is_file() else {}


WRITERS: dict[str, type[LogWriter]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "mlflow": MLflow}
