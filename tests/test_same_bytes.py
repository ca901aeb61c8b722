"""One evaluation, over and over: the same command, other processes, another batch."""

import json
from pathlib import Path

import pytest
from support.worlds import in_world

from invkit.core.distributed import World
from invkit.experiment.run import evaluate, run
from invkit.recipe.recipe import load_recipe

RECIPE = """
seed: 3
data: {name: photos}
degradation: {name: sparse-random}
model: {name: fno-unet, channels: 8, mult: [1], blocks: 1, patch: 2, modes: 3}
train: {steps: 2, batch: 4, grids: [16], precision: float32}
sample: {steps: 2}
eval: {images: 11, samples: 3, batch: 5, methods: [nearest, gaussian, model]}
log: {tensorboard: false}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("same")
    (folder / "tiny.yaml").write_text(RECIPE)
    return run(load_recipe(folder / "tiny.yaml"), folder / "run", "cpu")


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


def test_twice_and_in_another_batch(made):
    first = (made / "eval" / "table.json").read_bytes()
    assert table(made) == first
    same(table(made, "eval.batch=3"), first)


@pytest.mark.slow
def test_ten_times_and_with_one_two_and_three_processes(made):
    first = table(made)
    assert {table(made) for _ in range(9)} == {first}

    def work(world: World) -> None:
        evaluate(made, (), "cpu")

    for size in (1, 2, 3):
        (made / "eval" / "done.json").unlink()
        assert in_world(size, work, joined=False) == [None] * size
        assert (made / "eval" / "table.json").read_bytes() == first
    for batch in (1, 3, 4, 11):
        same(table(made, f"eval.batch={batch}"), first)
