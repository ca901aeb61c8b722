"""Progress of a run on stderr: bars on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn

from invkit.core.device import pick_device
from invkit.experiment.callbacks import Listener
from invkit.training.trainer import StepRecord

EVERY = 10.0  # seconds between plain lines
WINDOW = 600.0  # seconds over which the speed is averaged
LONG = 30 * 60.0  # seconds; the duration of a longer training on a CPU is announced
LEFT = TimeRemainingColumn()


class ConsoleListener(Listener):
    """Prints progress and messages on a console."""

    def __init__(self, console: Console, *, cpu: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._cpu, self._clock = console, cpu, clock
        self._last, self._projected = -math.inf, False
        self._bars: Progress | None = None

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def trained(self, record: StepRecord) -> None:
        task, text = self._advance("step", record.step, record.total), f"loss {record.loss:.3f}"
        first = bool(task.speed) and not self._projected
        if task.speed:
            text += f"  {task.speed * record.images / record.step:.0f} images/s"
        if first and self._cpu and (task.time_remaining or 0) > LONG:
            self.say(
                f"training will take about {(task.time_remaining or 0) / 3600:.1f} hours on this CPU; a GPU is recommended. "
                "`invkit run quickstart` takes minutes, --smoke seconds. Ctrl-C stops, and the same command resumes"
            )
        self._projected = self._projected or first
        self._show(task, text, first)

    def evaluated(self, done: int, total: int) -> None:
        self._show(self._advance("evaluated", done, total), "images")

    def _advance(self, what: str, done: int, total: int) -> Task:
        """The updated task named `what`; a new bar is started if another task was shown."""
        if self._bars is None or self._bars.tasks[0].description != what:
            self.close()
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}"),
            )
            self._bars = Progress(
                *columns, LEFT, console=self._console, get_time=self._clock, speed_estimate_period=WINDOW,
                disable=not self._console.is_terminal,
            )  # fmt: skip
            self._bars.add_task(what, total=total, text="")
            self._bars.start()
        task = self._bars.tasks[0]
        self._bars.update(task.id, completed=done)
        return task

    def _show(self, task: Task, text: str, first: bool = False) -> None:
        task.fields["text"] = text
        if not self._console.is_terminal and (first or task.finished or self._clock() - self._last > EVERY):
            self._last = self._clock()
            left = f"  {LEFT.render(task)} left" if task.speed else ""
            self.say(f"{task.description} {task.completed:.0f}/{task.total:.0f}  {text}{left}")
        if task.finished:
            self.close()

    def close(self) -> None:
        """Stop the current bar; it stays on the screen and the next one starts below it."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


@contextmanager
def console_progress(device: str, quiet: bool = False) -> Iterator[ConsoleListener]:
    """A listener that prints the progress of a run on stderr, or nothing if `quiet`."""
    listener = ConsoleListener(Console(stderr=True, quiet=quiet), cpu=pick_device(device).type == "cpu")
    try:
        yield listener
    finally:
        listener.close()
