"""How a run shows where it is: bars on a terminal, plain lines elsewhere, all on stderr."""

import math
import time
from collections import deque

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from invkit.experiment.callbacks import Listener
from invkit.training.trainer import StepRecord

EVERY = 10.0  # seconds between plain lines
LONG = 30 * 60.0  # a training longer than this on a CPU is said beforehand
FIRST = 2  # steps until a projection can be made; the first one is slower


def spell(seconds: float) -> str:
    """A duration as a person says it.

    >>> spell(75), spell(7300), spell(200000)
    ('1:15', '2 h 01 min', '56 h')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes < 600 else f"{round(minutes / 60)} h"


class Speedometer:
    """Pictures a second and the time left, over a recent window of steps."""

    def __init__(self, window: int = 50) -> None:
        self._recent: deque[tuple[float, int]] = deque(maxlen=window)

    def add(self, record: StepRecord) -> None:
        batch = record.images // record.step
        self._recent.append((record.seconds, batch))

    @property
    def steps(self) -> int:
        return len(self._recent)

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return sum(n for _, n in self._recent) / max(sum(s for s, _ in self._recent), 1e-9)

    def left(self, steps: int) -> float:
        """Seconds that so many more steps take; by the median, which one slow step does not move."""
        times = sorted(seconds for seconds, _ in self._recent)
        return steps * times[(len(times) - 1) // 2]


class Shown(Listener):
    """A listener that shows everything on a console."""

    def __init__(self, console: Console, *, cpu: bool) -> None:
        self._console, self._cpu = console, cpu
        self._speed, self._last, self._warned = Speedometer(), -math.inf, False
        self._bars: Progress | None = None
        self._task: tuple[str, TaskID] | None = None

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def trained(self, record: StepRecord) -> None:
        self._speed.add(record)
        left = self._speed.left(record.total - record.step)
        if self._cpu and not self._warned and self._speed.steps == FIRST:
            self._warned = True
            if left > LONG:
                self.say(
                    f"this training will take about {spell(left)} on this CPU; a GPU is meant for it. "
                    "`invkit run quickstart` takes minutes, --smoke seconds; stop any time (Ctrl-C), the same command goes on"
                )
        text = f"loss {record.loss:.3f}  {self._speed.rate:.0f} images/s  {spell(left)} left"
        self._show("step", record.step, record.total, text, first=self._speed.steps == FIRST)

    def evaluated(self, done: int, total: int) -> None:
        self._show("evaluated", done, total, "pictures", first=False)

    def _show(self, what: str, done: int, total: int, text: str, *, first: bool) -> None:
        if self._console.is_terminal:
            self._bar(what, done, total, text)
        elif first or done == total or time.monotonic() - self._last > EVERY:
            self._last = time.monotonic()
            self.say(f"{what} {done}/{total}  {text}")

    def _bar(self, what: str, done: int, total: int, text: str) -> None:
        if self._bars is None or self._task is None or self._task[0] != what:
            self.close()
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}  {task.fields[text]}"),
            )
            self._bars = Progress(*columns, console=self._console)
            self._bars.start()
            self._task = (what, self._bars.add_task(what, total=total, text=text))
        self._bars.update(self._task[1], completed=done, text=text)
        if done == total:
            self.close()

    def close(self) -> None:
        """Leave the last bar as it stands; the next one begins below it."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = self._task = None
