"""What is logged, and that a logger that fails stops nothing."""

import json

import torch
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
    folder = go(recipe, "log.tensorboard=true", "log.every=2", "train.evaluate_every=3", "train.evaluate_images=2")
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


def test_steps_between_are_not_read(tmp_path):
    book = RunLogger(RunFolder(tmp_path), Log(every=4, tensorboard=False), 0)
    for step in range(1, 7):
        book.step(record(step), last=step == 6, skipped=step)
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["step"], r["skipped"]) for r in logged] == [(4, 4), (6, 6)]
