"""No fault of the disk and no crash loses a checkpoint or a save that was acknowledged."""

import errno
import random
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch
from support.counts import tiers
from support.faults import ERRORS, Crash, Disk, lay_down, mutated
from support.messages import raises, warns

from invkit.training import checkpoint as module

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the failing disk reads /proc")


@dataclass(frozen=True)
class Save:
    """One save of a history; `value` fills its tensors."""

    step: int
    value: float
    score: float | None = None
    keep: int = 2

    def make(self, folder: Path, code: ModuleType) -> None:
        tensors = {
            "weights": {"a/b": torch.full((3, 2), float(self.value))},
            "average": {"a": torch.full((2,), float(self.value))},
        }
        code.save_checkpoint(folder, self.step, tensors, {"value": self.value}, keep=self.keep, score=self.score)


HISTORIES = {
    "the first": [Save(1, 1)],
    "others": [Save(step, step) for step in (1, 2, 3, 4)],
    "the same step again": [Save(1, 1), Save(2, 2), Save(2, 3), Save(2, 4), Save(3, 5)],
    "the best is kept": [Save(1, 1, 0.5), Save(2, 2, 0.1), Save(3, 3, 0.3), Save(4, 4), Save(5, 5, 0.05)],
    "only the last": [Save(1, 1, keep=1), Save(2, 2, keep=1), Save(3, 3, keep=1)],
}


def intact(folder: Path) -> dict[int, float]:
    """The checkpoints that load, step to value; each has to hold one value only."""
    found = {}
    for place in folder.glob("step-*") if folder.exists() else ():
        try:
            read = module._read(place, None)
        except module.DAMAGE:
            continue
        values = {float(v) for group in read.tensors.values() for x in group.values() for v in x.flatten()}
        assert values == {read.meta["value"]}, "mixed"
        found[read.step] = max(read.meta["value"], found.get(read.step, 0))
    return found


def goes_on(folder: Path, acknowledged: Save | None, begun: Save) -> list[str]:
    """What is wrong after a fault while `begun` was saved: nothing may be lost, and a restart saves and loads."""
    wrong = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            latest = module.latest_checkpoint(folder)
        except Exception as error:
            return [f"no restart: {error}"]
    if said:
        wrong.append(f"damaged: {said[0].message}")
    value = latest.meta["value"] if latest else 0
    if acknowledged and value not in (acknowledged.value, begun.value):
        wrong.append(f"acknowledged {acknowledged.value}, found {value}")
    after = Save(begun.step + 1, 99.0)
    after.make(folder, module)
    latest = module.latest_checkpoint(folder)
    if latest is None or latest.meta["value"] != 99:
        wrong.append("the next save is not found")
    names = {p.name for p in folder.iterdir()}
    if any(
        name.startswith(".") or name.removesuffix(".old") in names - {name} for name in names
    ):  # an only copy may stay
        wrong.append(f"left behind: {sorted(p.name for p in folder.iterdir())}")
    return wrong


def operations(history: list[Save], root: Path, code: ModuleType = module) -> Disk:
    root.mkdir(parents=True)
    with Disk(root).watching() as disk:
        for save in history:
            save.make(root / "checkpoints", code)
    return disk


def faulted(history: list[Save], at: int, error: BaseException, root: Path, code: ModuleType = module) -> list[str]:
    """What is wrong after one error of the disk, at operation `at` of a history."""
    root.mkdir(parents=True)
    folder, acknowledged, begun = root / "checkpoints", None, history[0]
    with Disk(root, at, error).watching() as disk:
        for begun in history:
            before = intact(folder)
            try:
                begun.make(folder, code)
            except OSError as caught:
                if caught is not error:
                    raise
                break
            acknowledged = begun
    assert disk.at == -1, "the fault was never reached"
    lost = before.items() - intact(folder).items() if acknowledged is not begun else set()
    lost = {(step, value) for step, value in lost if step == begun.step or step not in pruned(history, begun)}
    wrong = [f"lost {sorted(lost)}"] if lost and begun.step not in intact(folder) else []
    return wrong + goes_on(folder, acknowledged, begun)


def pruned(history: list[Save], last: Save) -> set[int]:
    """The steps that may go when `last` is saved."""
    steps = {save.step for save in history[: history.index(last)]}
    return set(sorted(steps)[: -last.keep]) if len(steps) > last.keep else set()


def crashed(history: list[Save], at: int, share: float | None, root: Path, code: ModuleType = module) -> list[str]:
    """What is wrong after the machine stopped at operation `at` and forgot what was not synced."""
    (root / "run").mkdir(parents=True)
    acknowledged, begun = None, history[0]
    with Disk(root / "run", at, Crash()).watching() as disk:
        try:
            for begun in history:
                begun.make(root / "run" / "checkpoints", code)
                acknowledged = begun
        except Crash:
            pass
    lay_down(disk.forgets(share), root / "again")
    found = intact(root / "again" / "checkpoints")
    if acknowledged and acknowledged.value not in found.values() and begun.value not in found.values():
        return [f"the acknowledged save {acknowledged} is lost"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a crash may leave half of one that was being pruned
        latest = module.latest_checkpoint(root / "again" / "checkpoints")
    value = latest.meta["value"] if latest else 0
    if acknowledged and value not in (acknowledged.value, begun.value):
        return [f"acknowledged {acknowledged.value}, found {value}"]
    Save(begun.step + 1, 99.0).make(root / "again" / "checkpoints", module)
    return [] if module.latest_checkpoint(root / "again" / "checkpoints").meta["value"] == 99 else ["it does not go on"]


def places(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Every operation of every history."""
    for i, (name, history) in enumerate(HISTORIES.items()):
        yield from ((name, at) for at in range(len(operations(history, tmp_path / f"whole{i}").done)))


@tiers("faults")
def test_an_error_at_any_operation_loses_nothing(tmp_path, count, figure):
    cases = [(name, at, number) for name, at in places(tmp_path) for number in ERRORS]
    chosen, failed = random.Random(1).sample(cases, count), []
    for i, (name, at, number) in enumerate(chosen):
        wrong = faulted(HISTORIES[name], at, OSError(number, "injected"), tmp_path / str(i))
        failed += [(name, at, errno.errorcode[number], text) for text in wrong]
    figure(
        "faults of the disk injected into saves: checkpoints lost, saves missing or restarts refused",
        count,
        len(failed),
    )
    assert failed == []


@tiers("crashes")
def test_a_crash_at_any_operation_loses_nothing_acknowledged(tmp_path, count, figure):
    rng = random.Random(2)
    cases = [(name, at, share) for name, at in places(tmp_path) for share in (None, 1.0, rng.random())]
    chosen, failed = rng.sample(cases, count), []
    for i, (name, at, share) in enumerate(chosen):
        failed += [(name, at, share, text) for text in crashed(HISTORIES[name], at, share, tmp_path / str(i))]
    figure("crashes that forget what was not synced: acknowledged saves lost", len(chosen), len(failed))
    assert failed == []


def misordered(disk: Disk) -> list[str]:
    """What is out of order in the last save of a history: write, sync, sync the staged folder, rename, sync, prune."""
    start = max(i for i, (what, *paths) in enumerate(disk.done) if what == "mkdir")
    ops = disk.done[start:]
    first = {}
    for i, op in enumerate(ops):
        first.setdefault(op, i)
    staged, folder = ops[0][1], "checkpoints"
    rename = next((i for i, op in enumerate(ops) if op[0] == "rename" and op[1] == staged), None)
    if rename is None:
        return ["it is not staged and renamed"]
    files = [op[1] for op in ops if op[0] == "create"]
    wrong = [
        f"{f} is not written, then synced" for f in files if not _rises(first.get(("write", f)), first.get(("sync", f)))
    ]
    wrong += [
        f"{f} is synced after its folder"
        for f in files
        if not _rises(first.get(("sync", f)), first.get(("syncdir", staged)))
    ]
    if not _rises(first.get(("syncdir", staged)), rename):
        wrong.append("the staged folder is not synced before it is renamed")
    after = next((i for i, op in enumerate(ops) if i > rename and op == ("syncdir", folder)), None)
    if after is None:
        wrong.append("the folder is not synced after the rename")
    gone = [i for i, op in enumerate(ops) if op[0] in ("unlink", "rmdir") or (op[0] == "rename" and "pruned" in op[2])]
    if not gone or gone[0] < (after or 0):
        wrong.append("something is pruned before the new one is safe")
    return wrong


def _rises(a: int | None, b: int | None) -> bool:
    return a is not None and b is not None and a < b


def test_write_sync_rename_sync_prune(tmp_path):
    disk = operations(HISTORIES["others"], tmp_path / "run")
    assert misordered(disk) == []
    assert ("syncdir", ".") in disk.done  # the name of the folder of all checkpoints


UNSYNCED = ("from invkit.core.files import make_folder, sync_folder, write_synced", (
    "from invkit.core.files import make_folder, sync_folder\ndef write_synced(path, data):\n    path.write_bytes(data)\n"
))  # fmt: skip
IN_PLACE = [
    ('folder / f".staged-{os.getpid()}"\n', 'folder / f"step-{step:08d}"\n'),
    ("            place.rename(old)\n        staged.rename(place)", "            pass"),
    ("staged.mkdir()", "staged.mkdir(exist_ok=True)"),
    ("        if place.exists():", "        if False:"),
    ("            if old.exists():\n                shutil.rmtree(old)\n", ""),
]
MUTANTS = {
    "no fsync of files": [UNSYNCED],
    "no fsync of the staged folder": [("        sync_folder(staged)\n", "")],
    "no fsync after the rename": [("    sync_folder(folder)\n    _prune", "    _prune")],
    "written in place": IN_PLACE,
    "pruned first": [
        ("    make_folder(folder)\n", "    make_folder(folder)\n    for p in _steps(folder): shutil.rmtree(p)\n")
    ],
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_save_without_one_of_its_guards_is_caught(tmp_path, name):
    code = mutated("invkit.training.checkpoint", *MUTANTS[name])
    disk = operations(HISTORIES["others"], tmp_path / "whole", code)
    assert misordered(disk) != []
    history = HISTORIES["the same step again" if name == "written in place" else "others"][:3]
    total = len(operations(history, tmp_path / "other", code).done)
    cases = ((at, share) for at in reversed(range(total)) for share in (None, 1.0))
    assert any(loses(history, *case, tmp_path / str(case), code) for case in cases)


def loses(history: list[Save], at: int, share: float | None, root: Path, code: ModuleType) -> bool:
    try:
        return crashed(history, at, share, root, code) != []
    except (module.DataError, AssertionError):
        return True


def test_the_same_step_again_without_setting_the_old_one_aside_is_caught(tmp_path):
    code = mutated(
        "invkit.training.checkpoint", ("            place.rename(old)\n", "            shutil.rmtree(place)\n")
    )
    history = HISTORIES["the same step again"][:3]
    total = len(operations(history, tmp_path / "whole", code).done)
    assert any(loses(history, at, 1.0, tmp_path / str(at), code) for at in reversed(range(total)))
    assert not any(loses(history, at, 1.0, tmp_path / f"sound{at}", module) for at in range(total - 8, total))


def test_a_save_after_damage_is_not_pruned_for_what_is_damaged(tmp_path):
    for step in (1, 2, 3):
        Save(step, step, keep=3).make(tmp_path, module)
    for step in (2, 3):
        (tmp_path / f"step-{step:08d}" / "average.safetensors").write_bytes(b"")
    with warns("step-00000003", "average.safetensors"):
        assert module.latest_checkpoint(tmp_path).step == 1
    Save(2, 20).make(tmp_path, module)  # the run went on from step 1
    assert module.latest_checkpoint(tmp_path).meta["value"] == 20
    assert intact(tmp_path) == {1: 1, 2: 20}


def test_the_best_is_kept_beside_the_last_and_found(tmp_path):
    for save in HISTORIES["the best is kept"][:4]:
        save.make(tmp_path, module)
    assert sorted(intact(tmp_path)) == [2, 3, 4]
    best = module.best_checkpoint(tmp_path)
    assert best is not None and best.step == 2
    (tmp_path / "step-00000002" / "weights.safetensors").unlink()
    with warns("step-00000002"):
        assert module.best_checkpoint(tmp_path).step == 3
    Save(5, 5, float("nan")).make(tmp_path, module)
    assert module.best_checkpoint(tmp_path, ["average"]).tensors.keys() == {"average"}


def test_what_is_not_finite_is_not_saved(tmp_path):
    Save(1, 1).make(tmp_path, module)
    with raises(module.NonFiniteError, "step 2", "a/b", "weights"):
        Save(2, float("nan")).make(tmp_path, module)
    assert intact(tmp_path) == {1: 1}


def test_the_disk_forgets_what_was_not_synced(tmp_path):
    """The instrument itself: a file that was written and renamed but never synced is empty, or not there."""
    (tmp_path / "run").mkdir()
    with Disk(tmp_path / "run").watching() as disk:
        (tmp_path / "run" / "a").write_bytes(b"x")
        (tmp_path / "run" / "a").rename(tmp_path / "run" / "b")
    assert disk.forgets() == {}
    assert [disk.forgets(share) for share in (0, 0.4, 1)] == [{}, {"a": b""}, {"b": b""}]
