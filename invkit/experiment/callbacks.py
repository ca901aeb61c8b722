"""Who hears what a run does."""

from invkit.experiment.run_folder import RunFolder
from invkit.training.trainer import StepRecord


class Listener:
    """What a run tells its caller; the default hears nothing."""

    def say(self, text: str) -> None:
        """A line for the person."""

    def trained(self, record: StepRecord) -> None:
        """A step was made."""

    def evaluated(self, done: int, total: int) -> None:
        """Some pictures were evaluated."""


class RecordingListener(Listener):
    """Passes everything on, and writes what is said into the run's log."""

    def __init__(self, listener: Listener, folder: RunFolder) -> None:
        self._listener, self._folder = listener, folder

    def say(self, text: str) -> None:
        self._folder.note(text)
        self._listener.say(text)

    def trained(self, record: StepRecord) -> None:
        self._listener.trained(record)

    def evaluated(self, done: int, total: int) -> None:
        self._listener.evaluated(done, total)
