"""Recipes of any content: one clear error or a recipe, soon, and nothing is imported because a text says so."""

import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from support.counts import tiers

from invkit.core.errors import DataError, PluginError, RecipeError
from invkit.recipe.read import installed
from invkit.recipe.recipe import load_recipe

SECONDS = 1.0  # of this process's own time
WORDS = [
    "null", "true", "~", "''", "0", "-1", "1e309", ".nan", ".inf", "9" * 40, "9" * 5000, "[]", "{}", "[[[[", "{a: ", "- ", ": ",
    "&a", "*a", "<<: *a", "!!python/object/apply:os.system ['touch executed']", "!!python/module:wave", "!include /etc/passwd",
    "../../../etc/passwd", "/dev/zero", "os.system", "${HOME}", "$(id)", "%s%s%n", "{{ 7 * 7 }}", "<script>", "\t", "\0", "\ufeff",
    "\u202e", "é", "name", "sparse-random", "photos", "cifar10", "compose", "mixture", "--- ", "...", "#", '"', "'", "|", ">", "? ",
]  # fmt: skip
DEEP = ["[" * 500, "{a: " * 500, "- " * 500, "a: &x [*x]\n" * 50]


def mutations(texts: list[str], count: int, seed: int) -> Iterator[bytes]:
    """Shipped recipes with some lines, words or bytes changed, and trees of any shape."""
    rng = random.Random(seed)
    keys = sorted({line.split(":")[0].strip() for text in texts for line in text.splitlines() if ":" in line})
    for i in range(count):
        if i % 3 == 2:
            yield yaml.safe_dump(tree(rng, keys, 0), sort_keys=False).encode()
            continue
        lines = rng.choice(texts).splitlines(keepends=True)
        for _ in range(rng.choice([1, 1, 2, 5, 20])):
            at = rng.randrange(len(lines) or 1)
            lines[at : at + 1] = changed(rng, lines[at] if at < len(lines) else "", lines)
        data = "".join(lines).encode()
        if rng.random() < 0.3 and data:
            data = bytearray(data)
            for _ in range(rng.choice([1, 3, 30])):
                data[rng.randrange(len(data))] = rng.randrange(256)
        yield bytes(data)


def changed(rng: random.Random, line: str, lines: list[str]) -> list[str]:
    kind = rng.randrange(7)
    if kind == 0:
        return []
    if kind == 1:
        return [line, line]
    if kind == 2:
        return [line, rng.choice(lines) if lines else ""]
    if kind == 3:
        return [" " * rng.randrange(6) + line]
    if kind == 4 and ":" in line:
        return [line.split(":")[0] + ": " + rng.choice(WORDS) + "\n"]
    if kind == 5:
        return [line, rng.choice(DEEP) + "\n"] if rng.random() < 0.1 else [line.replace(" ", rng.choice(WORDS), 1)]
    at = rng.randrange(len(line) + 1)
    return [line[:at] + rng.choice(WORDS) + line[at:]]


def tree(rng: random.Random, keys: list[str], depth: int) -> object:
    kind = rng.randrange(7) if depth < 5 else rng.randrange(4)
    if depth == 0 or kind >= 5:
        return {rng.choice(keys) or "x": tree(rng, keys, depth + 1) for _ in range(rng.randrange(8))}
    if kind == 4:
        return [tree(rng, keys, depth + 1) for _ in range(rng.randrange(5))]
    return rng.choice([rng.choice(WORDS).replace("\0", ""), rng.randrange(-5, 10**6), rng.uniform(-1, 10), None, True])


def faults(texts: Iterator[bytes], load: Callable[[Path], object], folder: Path) -> list[str]:
    """What is wrong with how recipes are loaded: another error, more than a second, or a module that nothing else needed."""
    found, path = [], folder / "r.yaml"
    known = set(sys.modules)
    for text in texts:
        path.write_bytes(text)
        start = time.process_time()
        try:
            load(path)
        except (RecipeError, PluginError, DataError) as error:
            if not str(error) or "Traceback" in str(error):
                found.append(f"{text!r}: {error!r}")
        except BaseException as error:
            found.append(f"{text!r}: {error!r}")
        if (took := time.process_time() - start) > SECONDS:
            found.append(f"{text!r}: {took:.1f} s")
        new = {name for name in set(sys.modules) - known if name.split(".")[0] not in {"encodings", "invkit"}}
        if new:
            found.append(f"{text!r}: imported {sorted(new)}")
            known |= new
    return found


@pytest.fixture(scope="module")
def shipped() -> list[str]:
    """The recipes that ship, each of which loads; so all that recipes need has been imported."""
    found = installed()
    assert len(found) >= 14
    for name in found:
        load_recipe(name)
    return [path.read_text("utf-8") for path in found.values()]


@tiers("recipes")
def test_any_recipe_is_loaded_or_refused_clearly(tmp_path, monkeypatch, shipped, count, figure):
    monkeypatch.chdir(tmp_path)
    failed = faults(mutations(shipped, count, 5), load_recipe, tmp_path)
    figure("fuzzed recipes: another error than one clear one, over a second, or a module imported", count, len(failed))
    assert failed == []
    assert [p.name for p in tmp_path.iterdir()] == ["r.yaml"]


def test_fuzzing_reaches_both_recipes_and_mistakes(tmp_path, shipped):
    kinds = set()
    for text in mutations(shipped, 60, 5):
        (tmp_path / "r.yaml").write_bytes(text)
        try:
            load_recipe(tmp_path / "r.yaml")
        except RecipeError as error:
            kinds.add(type(error))
            continue
        kinds.add(None)
    assert kinds == {None, RecipeError}


def test_a_loader_that_runs_what_a_recipe_says_is_caught(tmp_path, shipped):
    def unsafe(path: Path) -> None:
        try:
            yaml.unsafe_load(path.read_bytes())
        except Exception as error:
            raise RecipeError(str(error) or "x") from None

    sys.modules.pop("wave", None)
    text = b"data: !!python/module:wave\n"
    assert any("imported ['wave']" in fault for fault in faults(iter([text]), unsafe, tmp_path))
    sys.modules.pop("wave", None)
    assert faults(iter([text]), load_recipe, tmp_path) == [] and "wave" not in sys.modules


def test_a_loader_that_lets_other_errors_out_is_caught(tmp_path):
    assert faults(iter([b"a: ["]), lambda path: yaml.safe_load(path.read_bytes()), tmp_path) != []


def test_a_loader_that_takes_long_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "SECONDS", 0.01)
    assert faults(iter([b"a: 1"]), lambda path: sum(range(10**7)), tmp_path) != []
