import io

import pytest
import torch
from rich.console import Console

from invkit.cli.progress import ConsoleListener
from invkit.training.trainer import StepRecord


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(*, cpu: bool = True, **terminal) -> tuple[ConsoleListener, Clock, io.StringIO]:
    out, clock = io.StringIO(), Clock()
    return ConsoleListener(Console(file=out, width=200, **terminal), cpu=cpu, clock=clock), clock, out


def train(listener: ConsoleListener, clock: Clock, steps: range, total: int, seconds: float = 0.5) -> None:
    """Steps of 32 images."""
    for step in steps:
        clock.now += seconds
        listener.trained(StepRecord(step, torch.tensor(0.6), torch.tensor(1.0), 1e-3, 32 * step, 0.5, total))


def test_plain_lines_elsewhere():
    listener, clock, out = shown()
    train(listener, clock, range(1, 101), 100)
    lines = out.getvalue().splitlines()
    assert lines[0] == "step 1/100  loss 0.600"
    assert lines[1] == "step 2/100  loss 0.600  64 images/s  0:00:49 left"
    assert lines[-1] == "step 100/100  loss 0.600  64 images/s  0:00:00 left"
    assert len(lines) == 2 + 4 + 1  # one every ten seconds


@pytest.mark.parametrize(("cpu", "total", "said"), [(True, 200_000, True), (True, 100, False), (False, 200_000, False)])
def test_a_long_training_on_a_cpu_is_said_beforehand_and_once(cpu, total, said):
    listener, clock, out = shown(cpu=cpu)
    train(listener, clock, range(1, 2), total, 60.0)  # the slow first step does not count
    assert "on this CPU" not in out.getvalue()
    train(listener, clock, range(2, 30), total)
    assert out.getvalue().count("about 27.8 hours on this CPU") == said
    assert out.getvalue().count("invkit run quickstart") == said


def test_bars_on_a_terminal():
    listener, clock, out = shown(force_terminal=True)
    train(listener, clock, range(1, 11), 10)
    listener.evaluated(3, 3)
    listener.close()
    assert "10/10" in out.getvalue() and "64 images/s" in out.getvalue()
    assert "3/3" in out.getvalue()
