"""Training logs: metrics.jsonl, and the writers that the recipe names."""

import io
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from invkit.experiment.log_writers import WRITERS, LogWriter
from invkit.experiment.run_folder import RunFolder
from invkit.training.settings import Log
from invkit.training.trainer import StepRecord


class RunLogger:
    """Logs scalars, sample grids and validations. A writer that fails is left out, and log.txt records the error."""

    def __init__(self, folder: RunFolder, settings: Log, step: int) -> None:
        self.folder, self.every = folder, settings.every
        self._writers: dict[str, LogWriter] = {}
        for name in settings.to:
            self._try(name, partial(self._open, name, folder, step))

    def _open(self, name: str, folder: RunFolder, step: int) -> None:
        self._writers[name] = WRITERS[name](folder, step)

    def step(self, record: StepRecord, *, last: bool, skipped: int) -> None:
        if record.step % self.every and not last:
            return
        values = {"loss": float(record.loss), "grad_norm": float(record.grad_norm), "lr": record.lr}
        optional = {"skipped": skipped} if skipped else {}
        self.folder.append_metrics(
            {"step": record.step, **values, "images": record.images, "seconds": record.seconds, **optional}
        )
        self._scalars(values, record.step)

    def sheet(self, png: bytes, step: int) -> None:
        self._each(lambda writer: writer.image("samples", np.asarray(Image.open(io.BytesIO(png)).convert("RGB")), step))

    def validation(self, table: dict[str, Any], step: int) -> None:
        """Log the metrics of the held-out images and their reliability diagram."""
        values = {
            f"{row['readout']}/{name}": entry["value"]
            for row in table["rows"]
            for name, entry in row["metrics"].items()
            if entry["value"] is not None
        }
        self.folder.append_metrics({"step": step, "validation": values})
        self._scalars({f"validation/{name}": value for name, value in values.items()}, step)

        def draw(writer: LogWriter) -> None:
            from matplotlib.backends.backend_agg import FigureCanvasAgg

            from invkit.evaluation.report.figures import reliability_figure

            if figure := reliability_figure(table):
                FigureCanvasAgg(figure)
                writer.figure("reliability", figure, step)

        self._each(draw)

    def close(self) -> None:
        self._each(lambda writer: writer.close())

    def _scalars(self, values: dict[str, float], step: int) -> None:
        self._each(lambda writer: writer.scalars(values, step))

    def _each(self, act: Callable[[LogWriter], object]) -> None:
        for name, writer in list(self._writers.items()):
            self._try(name, partial(act, writer))

    def _try(self, name: str, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # a failing logger must not stop the training
            self._writers.pop(name, None)
            text = f"the log to {name} is disabled: {type(error).__name__}: {error}"
            if isinstance(error, ModuleNotFoundError):
                text += f"; pip install 'invkit[{name}]'"
                warnings.warn(text, stacklevel=2)
            self.folder.note(text)
