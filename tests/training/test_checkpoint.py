import torch
from support.messages import raises, warns

from invkit.core.errors import DataError
from invkit.training.checkpoint import latest_checkpoint, save_checkpoint


def tensors(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"weights": {"a/b": torch.full((3, 2), value), "step": torch.tensor(value)}, "average": {"a": torch.ones(2)}}


def test_round_trip_and_pruning(tmp_path):
    for step in (5, 10, 100):
        save_checkpoint(tmp_path, step, tensors(step), {"seed": 3})
    found = latest_checkpoint(tmp_path)
    assert found is not None and found.step == 100 and found.meta == {"seed": 3}
    assert torch.equal(found.tensors["weights"]["a/b"], torch.full((3, 2), 100.0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]


def test_the_same_step_again_replaces_it(tmp_path):
    save_checkpoint(tmp_path, 5, tensors(1), {})
    save_checkpoint(tmp_path, 5, tensors(2), {})
    found = latest_checkpoint(tmp_path)
    assert found is not None and float(found.tensors["weights"]["step"]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000005"]


def test_none_where_there_is_none(tmp_path):
    assert latest_checkpoint(tmp_path / "absent") is None
    (tmp_path / ".staged-123").mkdir()  # a save that was killed
    assert latest_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, 1, tensors(1), {})
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


def damage(place):
    data = bytearray((place / "weights.safetensors").read_bytes())
    data[-3] ^= 1
    (place / "weights.safetensors").write_bytes(data)


def test_a_damaged_one_is_passed_over_loudly(tmp_path):
    """Every sort of damage: `tests/reliability/test_damage.py`."""
    save_checkpoint(tmp_path, 1, tensors(1), {})
    damage(save_checkpoint(tmp_path, 2, tensors(2), {}))
    with warns("step-00000002", "weights.safetensors"):
        found = latest_checkpoint(tmp_path)
    assert found is not None and found.step == 1


def test_all_damaged_is_an_error_with_the_way_out(tmp_path):
    damage(save_checkpoint(tmp_path, 2, tensors(2), {}))
    with raises(DataError, tmp_path, "weights.safetensors", "--fresh"):
        latest_checkpoint(tmp_path)
