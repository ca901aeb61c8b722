"""What is written down while a model trains: metrics.jsonl always, TensorBoard where it works."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from invkit.experiment.run_folder import RunFolder
from invkit.training.settings import Log
from invkit.training.trainer import StepRecord


class RunLogger:
    """Scalars, sample grids and validations of a run. A logger that fails is left out, which the run's log says."""

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
        left_out = {"skipped": skipped} if skipped else {}
        self.folder.append_metrics(
            {"step": record.step, **values, "images": record.images, "seconds": record.seconds, **left_out}
        )
        self._scalars(values, record.step)

    def sheet(self, png: bytes, step: int) -> None:
        def draw(writer: Any) -> None:
            pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
            writer.add_image("samples", pixels, step, dataformats="HWC")

        self._board(draw)

    def validation(self, table: dict[str, Any], step: int) -> None:
        """Metrics of the held-out pictures, and their reliability diagram."""
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

        self._board(draw)

    def close(self) -> None:
        self._board(lambda writer: writer.close())

    def _scalars(self, values: dict[str, float], step: int) -> None:
        self._board(lambda writer: [writer.add_scalar(name, value, step) for name, value in values.items()])

    def _board(self, act: Callable[[Any], Any]) -> None:
        if self._writer is not None:
            self._try(lambda: act(self._writer))

    def _try(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except Exception as error:  # whatever a logger may meet, the training goes on
            self._writer = None
            self.folder.note(f"no TensorBoard from here on: {type(error).__name__}: {error}")
