import torch
from support.trainers import trainer

from invkit.core import device
from invkit.training.profiling import PARTS, profile_steps, profile_text


def test_the_parts_make_up_the_step():
    rows = profile_steps(trainer({"steps": 20}), steps=2)
    assert [row["part"] for row in rows] == [*PARTS.values(), "rest", "step"]
    step = rows[-1]["ms"]
    assert 0.7 * step < sum(row["ms"] for row in rows[:-1]) < 1.3 * step
    by = {row["part"]: row["share"] for row in rows}
    assert by["network, forward"] > 0.02 and by["backward"] > 0.02 and by["step"] == 1
    assert "images/s at train.batch=8" in profile_text(rows, 8)


def test_every_part_is_waited_for(monkeypatch):
    """On a device the host returns at once, and the backward pass is asked for by another thread."""
    waited = []
    monkeypatch.setattr(device, "synchronise", waited.append)
    with device.span("before"):
        pass
    profile_steps(trainer({"steps": 20}), steps=2)
    assert len(waited) >= 2 * len(PARTS) and set(waited) == {torch.device("cpu")}
    waited.clear()
    with device.span("after"):
        pass
    assert waited == []
