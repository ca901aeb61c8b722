"""What is logged, and that a logger that fails stops nothing."""

import io
import json
import sys
import types

import pytest
import torch
from PIL import Image
from support.runs import go
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils import tensorboard

from invkit.experiment.logger import RunLogger
from invkit.experiment.run_folder import RunFolder
from invkit.training.settings import Log
from invkit.training.trainer import StepRecord


def record(step: int) -> StepRecord:
    return StepRecord(step, torch.tensor(0.5), torch.tensor(1.0), 1e-3, 8 * step, 0.1, 10)


def test_scalars_sheets_and_reliability(recipe):
    folder = go(recipe, "log.to=[tensorboard]", "log.every=2", "train.evaluate_every=3", "train.evaluate_images=2")
    seen = EventAccumulator(str(folder / "tensorboard"))
    seen.Reload()
    assert {"loss", "grad_norm", "lr", "validation/sample/crps"} <= set(seen.Tags()["scalars"])
    assert [e.step for e in seen.Scalars("loss")] == [2, 4, 6]
    assert [e.step for e in seen.Images("samples")] == [3, 6]
    assert [e.step for e in seen.Scalars("validation/sample/crps")] == [3, 6]


def test_a_logger_that_fails_is_left_out(tmp_path, monkeypatch):
    class Broken:
        def __init__(self, *_, **__):
            pass

        def add_scalar(self, *_):
            raise OSError("disk of the board is full")

    monkeypatch.setattr(tensorboard, "SummaryWriter", Broken)
    book = RunLogger(RunFolder(tmp_path), Log(every=1), 0)
    book.validation({"rows": []}, 0)
    for step in (1, 2):
        book.step(record(step), last=False, skipped=0)
    book.sheet(b"no picture", 2)
    book.close()
    assert (tmp_path / "log.txt").read_text().count("OSError: disk of the board is full") == 1
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [0, 1, 2]


class Recorder(types.ModuleType):
    """In place of wandb and mlflow: a call of anything, however deep, is recorded by its name."""

    def __init__(self, name, calls):
        super().__init__(name)
        self.calls = calls

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Recorder(f"{self.__name__}.{name}", self.calls)

    def __call__(self, *given, **named):
        self.calls.append((self.__name__, given, named))
        return Recorder(self.__name__.split(".")[0] + ".run", self.calls)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wandb", ["init", "run.log", "Image", "run.log", "run.finish"]),
        ("mlflow", ["set_experiment", "start_run", "log_dict", "log_metrics", "log_image", "end_run"]),
    ],
)
def test_other_loggers(name, expected, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, name, Recorder(name, calls))
    book = RunLogger(RunFolder(tmp_path), Log(every=1, to=(name,)), 0)
    book.step(record(1), last=False, skipped=0)
    sheet = io.BytesIO()
    Image.new("RGB", (4, 3)).save(sheet, "png")
    book.sheet(sheet.getvalue(), 1)
    book.close()
    assert [call[0] for call in calls] == [f"{name}.{one}" for one in expected]
    scalars = next(call for call in calls if call[0].endswith(("run.log", "log_metrics")))
    assert scalars[1][0] == {"loss": 0.5, "grad_norm": 1.0, "lr": 1e-3} and scalars[2] == {"step": 1}


def test_a_logger_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.warns(UserWarning, match=r"the log to wandb is disabled.*pip install 'invkit\[wandb\]'"):
        RunLogger(RunFolder(tmp_path), Log(to=("wandb",)), 0).step(record(20), last=False, skipped=0)
    assert (tmp_path / "metrics.jsonl").is_file()


def test_recipes_of_earlier_versions_say_whether_they_log():
    assert Log(tensorboard=False) == Log(to=()) and Log(tensorboard=True) == Log()


def test_steps_between_are_not_read(tmp_path):
    book = RunLogger(RunFolder(tmp_path), Log(every=4, to=()), 0)
    for step in range(1, 7):
        book.step(record(step), last=step == 6, skipped=step)
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["step"], r["skipped"]) for r in logged] == [(4, 4), (6, 6)]
