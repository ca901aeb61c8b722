"""Progress callbacks of a run."""

from collections.abc import Callable

from invkit.experiment.run_folder import RunFolder
from invkit.training.trainer import StepRecord


class Listener:
    """Callbacks of a run; by default they do nothing."""

    def say(self, text: str) -> None:
        """Called with a message for the user."""

    def trained(self, record: StepRecord) -> None:
        """Called after a training step."""

    def evaluated(self, done: int, total: int) -> None:
        """Called when `done` of `total` images are evaluated."""


class ProgressListener(Listener):
    """Calls a function with the training steps that are done and their total, then with the images evaluated and theirs."""

    def __init__(self, progress: Callable[[int, int], object]) -> None:
        self._progress = progress

    def trained(self, record: StepRecord) -> None:
        self._progress(record.step, record.total)

    def evaluated(self, done: int, total: int) -> None:
        self._progress(done, total)


class RecordingListener(Listener):
    """Forwards all calls to another listener, each message once, and writes messages to the log of the run."""

    def __init__(self, listener: Listener, folder: RunFolder) -> None:
        self._listener, self._folder = listener, folder
        self._said = set[str]()

    def say(self, text: str) -> None:
        if text in self._said:
            return
        self._said.add(text)
        self._folder.note(text)
        self._listener.say(text)

    def trained(self, record: StepRecord) -> None:
        self._listener.trained(record)

    def evaluated(self, done: int, total: int) -> None:
        self._listener.evaluated(done, total)
