"""Training logs: metrics.jsonl, and TensorBoard if enabled."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from invkit.experiment.run_folder import RunFolder
from invkit.training.settings import Log
from invkit.training.trainer import StepRecord


class RunLogger:
    """Logs scalars, sample grids and validations. If TensorBoard fails it is disabled, and log.txt records the error."""

    def __init__(self, folder: RunFolder, settings: Log, step: int) -> None:
        self.folder, self.every, self._writer = folder, settings.every, None
        if settings.tensorboard:

            def start() -> None:
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(folder.tensorboard, purge_step=step + 1)

            self._try(start)

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
        def draw(writer: Any) -> None:
            pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
            writer.add_image("samples", pixels, step, dataformats="HWC")

        self._tensorboard(draw)

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

        def draw(writer: Any) -> None:
            from matplotlib.backends.backend_agg import FigureCanvasAgg

            from invkit.evaluation.report.figures import reliability_figure

            if figure := reliability_figure(table):
                FigureCanvasAgg(figure)
                writer.add_figure("reliability", figure, step)

        self._tensorboard(draw)

    def close(self) -> None:
        self._tensorboard(lambda writer: writer.close())

    def _scalars(self, values: dict[str, float], step: int) -> None:
        self._tensorboard(lambda writer: [writer.add_scalar(name, value, step) for name, value in values.items()])

    def _tensorboard(self, act: Callable[[Any], Any]) -> None:
        if self._writer is not None:
            self._try(lambda: act(self._writer))

    def _try(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except Exception as error:  # a failing logger must not stop the training
            self._writer = None
            self.folder.note(f"TensorBoard is disabled: {type(error).__name__}: {error}")
