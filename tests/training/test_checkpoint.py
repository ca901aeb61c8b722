import json

import pytest
import torch

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


def damage_flip(place):
    data = bytearray((place / "weights.safetensors").read_bytes())
    data[-3] ^= 1
    (place / "weights.safetensors").write_bytes(data)


def damage_truncate(place):
    data = (place / "average.safetensors").read_bytes()
    (place / "average.safetensors").write_bytes(data[:-1])


def damage_delete(place):
    (place / "weights.safetensors").unlink()


def damage_manifest(place):
    (place / "manifest.json").write_text("{")


def damage_path(place):
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["files"]["../../x.safetensors"] = manifest["files"].pop("weights.safetensors")
    (place / "manifest.json").write_text(json.dumps(manifest))


def damage_swap(place):
    place.rename(place.with_name("step-00000009"))


DAMAGES = [damage_flip, damage_truncate, damage_delete, damage_manifest, damage_path, damage_swap]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_passed_over_loudly(tmp_path, damage):
    save_checkpoint(tmp_path, 1, tensors(1), {})
    damage(save_checkpoint(tmp_path, 2, tensors(2), {}))
    with pytest.warns(UserWarning, match="is damaged"):
        found = latest_checkpoint(tmp_path)
    assert found is not None and found.step == 1


def test_all_damaged_is_an_error_with_the_way_out(tmp_path):
    damage_flip(save_checkpoint(tmp_path, 2, tensors(2), {}))
    with pytest.warns(UserWarning, match="is damaged"), pytest.raises(DataError, match="--fresh"):
        latest_checkpoint(tmp_path)
