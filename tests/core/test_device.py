from types import SimpleNamespace

import pytest
import torch
from support.messages import raises

from invkit.core.device import autocast, cells_at_once, pick_device, place, set_determinism
from invkit.core.errors import RecipeError


def test_devices():
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with raises(RecipeError, "--device cuda", "--device cpu"):
            pick_device("cuda")


def test_a_gpu_takes_more_at_once_the_more_memory_it_has(monkeypatch):
    memory = {"total_memory": 0}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(**memory))
    found = []
    for gib in (4, 24, 140):
        memory["total_memory"] = gib << 30
        found.append(cells_at_once(torch.device("cuda")) // 1024)
    assert found == [256, 3 * 256, 4096] and cells_at_once(torch.device("cpu")) == 256 * 1024


def test_only_convolutions_change_their_layout():
    """torch refuses to change a parameter of five axes, such as dense spectral weights."""
    model = torch.nn.Sequential(torch.nn.Conv2d(4, 6, 3))
    model.register_parameter("weight", torch.nn.Parameter(torch.zeros(2, 3, 3, 4, 4)))
    with pytest.raises(RuntimeError, match="channels_last"):
        model.to(memory_format=torch.channels_last)
    assert place(model, torch.device("cpu")) is model
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("float32", torch.float32)])
def test_precision(precision, dtype):
    x = torch.ones(2, 2)
    with autocast(torch.device("cpu"), precision):
        assert (x @ x).dtype == dtype


def test_strict_mode_refuses_by_name_what_is_not_deterministic():
    x, index, values = torch.zeros(3), torch.tensor([0, 0]), torch.ones(2)
    try:
        set_determinism(True)
        with pytest.raises(RuntimeError, match="put_ does not have a deterministic implementation"):
            x.put_(index, values)  # one of the few on a CPU
    finally:
        set_determinism(False)
    x.put_(index, values)
