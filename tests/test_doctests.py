"""The examples in docstrings run."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import invkit

ROOT = Path(invkit.__file__).parent
MODULES = sorted(
    ".".join(("invkit", *path.relative_to(ROOT).with_suffix("").parts))
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text("utf-8")
)


def test_there_are_examples():
    assert {"invkit.core.keys", "invkit.core.grid", "invkit.physics.points"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, tried = doctest.testmod(import_module(name))
    assert tried > 0
    assert failed == 0
