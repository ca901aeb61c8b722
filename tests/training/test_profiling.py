import torch
from support.trainers import trainer

from invkit.core.spans import Clock, Counts, arrived, span
from invkit.diffusion import Sample
from invkit.training.profiling import LENGTH, PARTS, profile, profile_text


def test_the_parts_make_up_the_step():
    rows, waits = profile(trainer({"steps": LENGTH}), Sample(steps=2))
    assert [row["part"] for row in rows] == [*PARTS.values(), "step"]
    by = {row["part"]: row for row in rows}
    for part in ("network, forward", "backward"):
        assert by[part]["share"] > 0.02 and by[part]["step"] > 20
    assert by["step"]["share"] == 1 and by["network, forward"]["sample"] == 2 * by["network, forward"]["mean"] > 0
    text = profile_text(rows, waits, 8)
    assert "images/s at train.batch=8" in text and "the host waits for the device: " in text


def test_a_span_is_recorded_without_those_within_it():
    waited = []
    with Clock(lambda: waited.append(1)) as clock, span("outer"):
        for _ in range(100_000):
            pass
        with span("inner"):
            pass
    assert clock.seconds["outer"] > clock.seconds["inner"] > 0 and len(waited) == 6
    with Counts() as counts, span("outer"):
        x = torch.ones(3).view(1, 3) + 1
        with span("inner"):
            x = x * 2 + 1
    assert (counts.operations["outer"], counts.operations["inner"]) == (2, 2)
    before = counts.operations.copy()
    with span("after"):
        torch.ones(3)
    assert counts.operations == before


def test_what_reads_the_values_of_a_device_counts_as_a_wait():
    """A tensor of the host, a tensor that was sent to the device, and what is computed from it."""
    reads = [
        lambda x: float(x[0]), lambda x: x.tolist(), lambda x: x.cpu(), lambda x: x.numpy(), lambda x: bool((x > 0).any()),
        lambda x: x.nonzero(), lambda x: x.unique(), lambda x: x[x > 0], lambda x: torch.linalg.cholesky(x * torch.eye(2)),
        lambda x: torch.linalg.eigh(torch.diag(x)),
    ]  # fmt: skip
    for read in reads:
        host = torch.ones(2)
        with Counts() as counts:
            read(host)
            assert not counts.waits
            read(2 * arrived(host) + host)
            assert sum(counts.waits.values()) == 1, read
            read(host)
            assert sum(counts.waits.values()) == 1
    with Counts() as counts:
        x = arrived(torch.ones(2))
        torch.where(x > 0, x, 0)[:1].clamp(min=0).sum()
    assert not counts.waits
