"""Many steps: memory stays flat, and a training cut at any of them goes on bit for bit."""

import ctypes
import os
from pathlib import Path

import pytest
import torch
from support.counts import tiers
from support.trainers import trainer, weights

from invkit.training.trainer import Trainer

TINY = {"batch": 2, "warmup": 1}
ROOM = 8 << 20  # bytes that the allocator may come to hold


def resident() -> int:
    """Bytes of memory that this process holds, once what earlier tests freed is given back."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def grown(t: Trainer, steps: int) -> int:
    """Bytes that memory grew by over the last two thirds of some steps."""
    start = 0
    for record in t.run():
        if record.step == steps // 3:
            start = resident()
    return resident() - start


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@tiers("steps")
def test_memory_is_flat(count, figure):
    growth = grown(trainer({**TINY, "steps": count}, grids=(8,)), count)
    figure("small steps of training: memory grown by more than 8 MiB", count, int(growth > ROOM))
    assert growth <= ROOM


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_leak_is_noticed(monkeypatch):
    kept, update = [], Trainer._update

    def leaking(self):
        kept.append(torch.ones(1 << 16))  # 256 KiB a step
        return update(self)

    monkeypatch.setattr(Trainer, "_update", leaking)
    assert grown(trainer({**TINY, "steps": 90}, grids=(8,)), 90) > ROOM


CASES = [
    {"accumulate": 4},
    {"workers": 2},
    {"ema_length": 0.1, "muon_lr": None, "workers": 2},
    {"on_nonfinite": "skip", "decay": 1.0},
]


@tiers("cuts")
def test_cut_anywhere_it_goes_on_bit_for_bit(count, figure):
    """Cut before the end of an epoch of 6.25 steps, and after it; what comes from a file has lost its memory layout."""
    failed, each = 0, count // len(CASES)
    for settings in CASES:
        whole, saved, losses = trainer({"steps": 11, **settings}), [], []
        for record in whole.run():
            losses.append(float(record.loss))
            parts = whole.state().items()
            saved.append({n: {k: v.clone().contiguous() for k, v in group.items()} for n, group in parts})
        for cut in (1 + 10 * (i + 1) // (each + 1) for i in range(each)):
            again = trainer({"steps": 11, **settings})
            again.restore(cut, saved[cut - 1])
            same = [float(r.loss) for r in again.run()] == losses[cut:]
            failed += not (same and all(map(torch.equal, weights(whole), weights(again))))
    figure("cut points of a training: a loss, weight, average or moment that is not the same bits", count, failed)
    assert failed == 0
