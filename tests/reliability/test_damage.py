"""Damaged checkpoints are noticed and never loaded wrong; those of a stranger are data, and refused in one line."""

import hashlib
import json
import os
import pickle
import random
import shutil
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from support.counts import tiers
from support.faults import mutated
from support.messages import raises, warns

from invkit.core.errors import DataError
from invkit.training import checkpoint as module
from invkit.training.checkpoint import best_checkpoint, check_fit, latest_checkpoint, save_checkpoint

FILES = ["weights.safetensors", "average.safetensors", "manifest.json"]


def made(folder: Path, step: int) -> Path:
    tensors = {
        name: {"a/b": torch.full((n, 2), float(step)), "c": torch.full((4,), float(step))}
        for n, name in enumerate(("weights", "average"), 3)
    }
    return save_checkpoint(folder, step, tensors, {"step": step}, keep=9, score=-step)


def truncated(rng: random.Random, place: Path, other: Path) -> None:
    data = (file := place / rng.choice(FILES)).read_bytes()
    file.write_bytes(data[: rng.randrange(len(data))])


def flipped(rng: random.Random, place: Path, other: Path) -> None:
    data = bytearray((file := place / rng.choice(FILES)).read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def overwritten(rng: random.Random, place: Path, other: Path) -> None:
    data = bytearray((file := place / rng.choice(FILES)).read_bytes())
    at, length = rng.randrange(len(data)), rng.choice([1, 16, 512])
    block = bytes(len(data[at : at + length]))
    data[at : at + length] = block if block != data[at : at + length] else b"\1" * len(block)
    file.write_bytes(data)


def extended(rng: random.Random, place: Path, other: Path) -> None:
    with (place / rng.choice(FILES)).open("ab") as file:
        file.write(rng.randbytes(rng.choice([1, 100])).replace(b" ", b"x").replace(b"\n", b"x"))


def deleted(rng: random.Random, place: Path, other: Path) -> None:
    (place / rng.choice(FILES)).unlink()


def swapped(rng: random.Random, place: Path, other: Path) -> None:
    name = rng.choice(FILES)
    mine, theirs = (place / name).read_bytes(), (other / name).read_bytes()
    (place / name).write_bytes(theirs)
    (other / name).write_bytes(mine)


def exchanged(rng: random.Random, place: Path, other: Path) -> None:
    """Two files of one checkpoint change names."""
    (place / FILES[0]).rename(place / "x")
    (place / FILES[1]).rename(place / FILES[0])
    (place / "x").rename(place / FILES[1])


def renamed(rng: random.Random, place: Path, other: Path) -> None:
    place.rename(place.with_name(f"step-{rng.randrange(4, 1000):08d}"))


def retouched(rng: random.Random, place: Path, other: Path) -> None:
    """A manifest that is still one, and says something else."""
    text = (place / "manifest.json").read_text()
    old, new = rng.choice([('"meta": {\n  "step": 3', '"meta": {\n  "step": 2'), ('"score": -3.0', '"score": 3.0')])
    assert old in text
    (place / "manifest.json").write_text(text.replace(old, new))


def emptied(rng: random.Random, place: Path, other: Path) -> None:
    for name in FILES:
        (place / name).write_bytes(b"")


DAMAGES = [truncated, flipped, overwritten, extended, deleted, swapped, exchanged, renamed, retouched, emptied]


def missed(seed: int, folder: Path, code=module) -> list[str]:
    """What is wrong where the newest of three checkpoints is damaged, and with `swapped` the one before it as well."""
    rng, damage = random.Random(seed), DAMAGES[seed % len(DAMAGES)]
    _, two, three = (made(folder, step) for step in (1, 2, 3))
    damage(rng, three, two)
    wrong = []
    for read in (code.latest_checkpoint, code.best_checkpoint):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                found = read(folder)
            except Exception as error:
                wrong.append(f"{damage.__name__}: {error!r}")
                continue
        values = {float(v) for group in found.tensors.values() for x in group.values() for v in x.flatten()}
        if values != {float(found.step)} or found.meta != {"step": found.step}:
            wrong.append(f"{damage.__name__}: loaded wrong, {found.step} with {values}")
        if found.step > 2 or (read is code.latest_checkpoint and not said):
            wrong.append(f"{damage.__name__}: unnoticed")
    return wrong


@tiers("damages")
def test_every_damage_is_noticed_and_none_is_loaded(tmp_path, count, figure):
    failed = []
    for seed in range(count):
        failed += missed(seed, tmp_path / str(seed))
        shutil.rmtree(tmp_path / str(seed))
    figure("damaged checkpoints: unnoticed, or loaded wrong", count, len(failed))
    assert failed == []


@pytest.mark.parametrize(
    "change",
    [
        ('len(data) != facts["bytes"] or hashlib.sha256(data).hexdigest() != facts["sha256"]', "False"),
        ('schema == _SCHEMA and manifest.pop("sha256") != digest_of(manifest)', 'not manifest.pop("sha256")'),
        (' or f"step-{step:08d}" != place.name.removesuffix(".old")', ""),
    ],
)
def test_a_reader_without_one_of_its_checks_is_caught(tmp_path, change):
    code = mutated("invkit.training.checkpoint", change)
    assert any(missed(seed, tmp_path / str(seed), code) for seed in range(100))


# What a stranger may send. Each makes a folder with one checkpoint whose sizes and digests are right.


def forge(
    folder: Path, files: dict[str, bytes], change: Callable[[dict], object] = dict, step: int = 7, text: bytes = b""
) -> Path:
    place = folder / f"step-{step:08d}"
    place.mkdir(parents=True)
    facts = {}
    for name, data in files.items():
        (place / name).write_bytes(data)
        facts[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest = {"schema": "invkit.checkpoint/2", "step": step, "score": None, "files": facts, "meta": {}}
    change(manifest)
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (place / "manifest.json").write_bytes(text or json.dumps(manifest).encode())
    return place


GOOD = save({"a": torch.ones(4)})


def tensors(header: dict | bytes, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(dtype="F32", shape=(4,), offsets=(0, 16)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


class Boom:
    def __reduce__(self):
        return os.system, ("touch executed",)


def with_weights(data: bytes):
    return lambda folder, outside: forge(folder, {"weights.safetensors": data})


def with_manifest(change: Callable[[dict], object]):
    return lambda folder, outside: forge(folder, {"weights.safetensors": GOOD}, change)


def with_text(text: bytes):
    return lambda folder, outside: forge(folder, {"weights.safetensors": GOOD}, text=text)


def named(name: str):
    def change(manifest: dict) -> None:
        manifest["files"][name] = manifest["files"].pop("weights.safetensors")

    return with_manifest(change)


def linked_file(folder: Path, outside: Path) -> None:
    place = forge(folder, {"weights.safetensors": GOOD})
    (outside / "secret").write_bytes(GOOD)
    (place / "weights.safetensors").unlink()
    # Relative: of a link the size that is looked at is the length of its text.
    (place / "weights.safetensors").symlink_to(os.path.relpath(outside / "secret", place))


def linked_manifest(folder: Path, outside: Path) -> None:
    place = forge(folder, {"weights.safetensors": GOOD})
    (place / "manifest.json").rename(outside / "manifest.json")
    (place / "manifest.json").symlink_to(outside / "manifest.json")


def linked_folder(folder: Path, outside: Path) -> None:
    place = forge(outside, {"weights.safetensors": GOOD})
    folder.mkdir()
    (folder / place.name).symlink_to(place)


def a_path(folder: Path, outside: Path) -> None:
    (outside / "x.safetensors").write_bytes(GOOD)
    named("../../outside/x.safetensors")(folder, outside)


def a_pipe(folder: Path, outside: Path) -> None:
    place = forge(folder, {"weights.safetensors": GOOD})
    (place / "weights.safetensors").unlink()
    os.mkfifo(place / "weights.safetensors")


def a_device(folder: Path, outside: Path) -> None:
    place = forge(folder, {"weights.safetensors": GOOD})
    (place / "weights.safetensors").unlink()
    (place / "weights.safetensors").symlink_to("/dev/zero")


def a_folder(folder: Path, outside: Path) -> None:
    place = forge(folder, {"weights.safetensors": GOOD})
    (place / "weights.safetensors").unlink()
    (place / "weights.safetensors").mkdir()


def grown(folder: Path, outside: Path) -> None:
    place = forge(folder, {"weights.safetensors": GOOD})
    os.truncate(place / "weights.safetensors", 1 << 40)  # a hole: no blocks, a terabyte to read


HOSTILE = {
    "a pickle": with_weights(pickle.dumps(Boom())),
    "not finite": with_weights(save({"a": torch.tensor([1.0, float("nan")])})),
    "infinite in half": with_weights(save({"a": torch.tensor([float("inf")], dtype=torch.bfloat16)})),
    "no header": with_weights(b"\0" * 4),
    "a header longer than the file": with_weights(struct.pack("<Q", 1 << 40) + b"{}"),
    "a header of no object": with_weights(tensors(b"[1, 2]")),
    "a deep header": with_weights(tensors(b"[" * 200_000 + b"]" * 200_000)),
    "a shape of many digits": with_weights(tensors({"a": entry(shape=(10**400,))}, bytes(16))),
    "a shape beyond its bytes": with_weights(tensors({"a": entry(shape=(1 << 40,))}, bytes(16))),
    "a negative shape": with_weights(tensors({"a": entry(shape=(-4,))}, bytes(16))),
    "a product that wraps around": with_weights(tensors({"a": entry(shape=(1 << 32, 1 << 32, 4))}, bytes(16))),
    "another type": with_weights(tensors({"a": entry(dtype="F8_E4M3", shape=(16,))}, bytes(16))),
    "a type of no name": with_weights(tensors({"a": entry(dtype=["F32"])}, bytes(16))),
    "offsets that overlap": with_weights(tensors({"a": entry(), "b": entry()}, bytes(16))),
    "offsets with a gap": with_weights(tensors({"a": entry(), "b": entry(offsets=(32, 48))}, bytes(48))),
    "offsets beyond the end": with_weights(tensors({"a": entry(offsets=(0, 16))}, bytes(8))),
    "a name twice": with_weights(tensors(b'{"a":%(e)s,"a":%(e)s}' % {b"e": json.dumps(entry()).encode()}, bytes(16))),
    "bytes of no tensor": with_weights(tensors({"a": entry()}, bytes(16) + b"#!/bin/sh")),
    "metadata": with_weights(tensors({"__metadata__": {"x": "y" * 9}, "a": entry()}, bytes(16))),
    "a path": a_path,
    "an absolute path": named("/etc/passwd"),
    "another suffix": named("weights.pkl"),
    "a size of the sky": with_manifest(lambda m: m["files"]["weights.safetensors"].update(bytes=10**30)),
    "a size that is a truth": with_manifest(lambda m: m["files"]["weights.safetensors"].update(bytes=True)),
    "files that are a list": with_manifest(lambda m: m.update(files=[["weights.safetensors"]])),
    "facts that are a word": with_manifest(lambda m: m["files"].update({"weights.safetensors": "trust me"})),
    "a score of no number": with_manifest(lambda m: m.update(score="0.1")),
    "meta that is a list": with_manifest(lambda m: m.update(meta=[])),
    "a list for a manifest": with_text(b"[]"),
    "a deep manifest": with_text(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "a manifest of many digits": with_text(b'{"step": ' + b"9" * 10_000 + b"}"),
    "a manifest with NaN": with_manifest(lambda m: m.update(meta={"x": float("nan")})),
    "a manifest of 2 MiB": with_text(b" " * (2 << 20) + b"{}"),
    "a manifest of no text": with_text(b"\xff\xfe\x00"),
    "a linked file": linked_file,
    "a linked manifest": linked_manifest,
    "a linked folder": linked_folder,
    "a linked device": a_device,
    "a pipe": a_pipe,
    "a folder for a file": a_folder,
    "a hole of a terabyte": grown,
}  # fmt: skip


def refusal(name: str, root: Path, code=module) -> str:
    """What is wrong with how a hostile checkpoint is taken; nothing, where it is refused in one line."""
    folder, outside = root / "checkpoints", root / "outside"
    outside.mkdir(parents=True)
    HOSTILE[name](folder, outside)
    before = sorted(p for p in root.rglob("*"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code.latest_checkpoint(folder)
        except DataError as error:
            said = str(error)
        except Exception as error:
            return f"{name}: {error!r}"
        else:
            return f"{name}: it was loaded"
    if "\n" in said or len(said) > 600 or "--fresh" not in said:
        return f"{name}: {said!r}"
    return "" if sorted(p for p in root.rglob("*")) == before else f"{name}: it left something"


def test_hostile_checkpoints_are_refused_in_one_line(tmp_path, figure, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed = [said for i, name in enumerate(HOSTILE) if (said := refusal(name, tmp_path / str(i)))]
    figure("hostile checkpoints: loaded, executed, or answered with more than one line", len(HOSTILE), len(failed))
    assert failed == [] and len(HOSTILE) >= 30
    assert not (tmp_path / "executed").exists()


def test_the_forged_one_is_sound_but_for_what_is_forged(tmp_path):
    forge(tmp_path, {"weights.safetensors": GOOD})
    assert torch.equal(latest_checkpoint(tmp_path).tensors["weights"]["a"], torch.ones(4))
    old = forge(tmp_path, {"weights.safetensors": GOOD}, lambda m: m.update(schema="invkit.checkpoint/1"), step=8)
    assert latest_checkpoint(tmp_path).step == 8 and old.exists()  # of versions before 0.2


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (("if bad := not_finite(group):\n            raise V", "if bad := None:\n            raise V"), "not finite"),
        (("        _check_header(file, data)\n        group", "        group"), "metadata"),
        (("not in _TYPES", "in ()"), "another type"),
        (("if not stat.S_ISREG(facts.st_mode)", "if False"), "a linked file"),
        (("if place.is_symlink()", "if False"), "a linked folder"),
        (("if not _FILE.fullmatch(name)", "if False"), "a path"),
        (("if len(dict(pairs)) != len(pairs)", "if False"), "a name twice"),
        ((", RecursionError", ""), "a deep manifest"),
        (("parse_constant=refuse", "parse_constant=float"), "a manifest with NaN"),
    ],
)  # fmt: skip
def test_a_guard_that_is_left_out_is_missed(tmp_path, change, name):
    code = mutated("invkit.training.checkpoint", change)
    assert refusal(name, tmp_path / "run", code) != ""


def test_the_first_difference_of_weights_is_named():
    own = {"a": torch.zeros(2), "b": torch.zeros(3)}
    check_fit(own, {"b": torch.ones(3), "a": torch.ones(2, dtype=torch.bfloat16)})
    for weights, said in (
        ({"a": torch.zeros(2)}, ("'b'", "float32 (3,)")),
        ({"a": torch.zeros(2), "b": torch.zeros(4)}, ("'b'", "float32 (4,)", "float32 (3,)")),
        ({"a": torch.zeros(2, dtype=torch.int64), "b": torch.zeros(3)}, ("'a'", "int64 (2,)")),
        ({**own, "z" * 500: torch.zeros(1)}, ("'" + "z" * 80 + "'", "float32 (1,)")),
        ({}, ("'a'",)),
    ):
        with raises(DataError, *said, "--fresh") as error:
            check_fit(own, weights)
        assert "\n" not in str(error.value)


def test_only_the_files_that_are_asked_for_are_read(tmp_path):
    (made(tmp_path, 1) / "weights.safetensors").write_bytes(b"damaged")
    assert latest_checkpoint(tmp_path, ["average"]).tensors.keys() == {"average"}
    with warns("step-00000001", "other.safetensors"), pytest.raises(DataError):
        latest_checkpoint(tmp_path, ["other"])
    assert best_checkpoint(tmp_path / "absent") is None
