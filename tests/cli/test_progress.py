import io

import pytest
import torch
from rich.console import Console
from support.messages import missing

from invkit.cli.progress import Shown, Speedometer, spell
from invkit.training.trainer import StepRecord


def record(step: int, seconds: float = 0.5, total: int = 100) -> StepRecord:
    return StepRecord(step, torch.tensor(0.6), torch.tensor(1.0), 1e-3, 32 * step, seconds, total)


def shown(*, cpu: bool = True) -> tuple[Shown, io.StringIO]:
    out = io.StringIO()
    return Shown(Console(file=out, width=200), cpu=cpu), out


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (75, "1:15"), (7300, "2 h 01 min"), (200_000, "56 h")])
def test_durations(seconds, text):
    assert spell(seconds) == text


def test_rate_and_time_left():
    speed = Speedometer()
    for step, seconds in enumerate([3.0, 0.5, 0.5, 0.5, 0.5], 1):
        speed.add(record(step, seconds))
    assert speed.left(100) == 50  # the slow first step does not count
    assert speed.rate == pytest.approx(32)


def test_plain_lines_elsewhere():
    listener, out = shown()
    for step in range(1, 101):
        listener.trained(record(step))
    lines = out.getvalue().splitlines()
    assert not missing(lines[0], "step 1/100", "0.600", 64, "0:50") and lines[-1].startswith("step 100/100")
    assert len(lines) <= 4  # an early one with a first projection, one every few seconds


@pytest.mark.parametrize(("cpu", "steps", "said"), [(True, 200_000, True), (True, 100, False), (False, 200_000, False)])
def test_a_long_training_on_a_cpu_is_said_beforehand_and_once(cpu, steps, said):
    listener, out = shown(cpu=cpu)
    for step in range(1, 30):
        listener.trained(record(step, 60.0 if step == 1 else 0.5, steps))  # the slow first step does not count
        assert ("invkit run quickstart" in out.getvalue()) == (said and step > 1)
    assert out.getvalue().count("28 h") >= said and out.getvalue().count("invkit run quickstart") == said


def test_bars_on_a_terminal():
    out = io.StringIO()
    listener = Shown(Console(file=out, force_terminal=True, width=120), cpu=True)
    for step in range(1, 11):
        listener.trained(record(step, total=10))
    listener.evaluated(3, 3)
    listener.close()
    assert "10/10" in out.getvalue()
    assert "3/3" in out.getvalue()
