"""One evaluation, over and over: the same command, other processes, another batch."""

import json
from pathlib import Path

import pytest
from support.worlds import in_world

from invkit.core.distributed import World
from invkit.experiment.run import evaluate


def table(folder: Path, *overrides: str) -> bytes:
    """Evaluated anew."""
    (folder / "eval" / "done.json").unlink()
    evaluate(folder, overrides, "cpu")
    return (folder / "eval" / "table.json").read_bytes()


def numbers(node: object, path: str = "") -> dict[str, object]:
    """Every leaf of a table, by its path."""
    if isinstance(node, dict | list):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        return {k: v for key, value in items for k, v in numbers(value, f"{path}/{key}").items()}
    return {path: node}


def same(a: bytes, b: bytes) -> None:
    first, second = numbers(json.loads(a)), numbers(json.loads(b))
    assert first.keys() == second.keys()
    for path, value in first.items():
        near = pytest.approx(value, rel=1e-5, abs=1e-5) if isinstance(value, float) else value
        assert second[path] == near, path


def test_twice_and_in_another_batch(run_copy):
    first = (run_copy / "eval" / "table.json").read_bytes()
    assert table(run_copy) == first
    same(table(run_copy, "eval.batch=3"), first)


@pytest.mark.slow
def test_ten_times_and_with_one_two_and_three_processes(run_copy):
    first = table(run_copy)
    assert {table(run_copy) for _ in range(9)} == {first}

    def work(world: World) -> None:
        evaluate(run_copy, (), "cpu")

    for size in (1, 2, 3):
        (run_copy / "eval" / "done.json").unlink()
        assert in_world(size, work, joined=False) == [None] * size
        assert (run_copy / "eval" / "table.json").read_bytes() == first
    for batch in (1, 3, 5):
        same(table(run_copy, f"eval.batch={batch}"), first)
