"""What tests share lies in `tests/support`: no test module imports another; and messages are held to their facts."""

import ast
import warnings
from pathlib import Path

import pytest
from support import ROOT
from support.messages import missing, raises, warns

MODULES = sorted((ROOT / "tests").rglob("*.py"))
TESTS = {path.stem for path in MODULES if path.stem.startswith("test_")} | {"conftest"}


def borrowed(text: str) -> set[str]:
    """The test modules that a module imports, by any path."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {part for alias in node.names for part in alias.name.split(".")}
        elif isinstance(node, ast.ImportFrom):
            found |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
    return found & TESTS


def test_no_test_module_imports_another():
    assert {str(path): found for path in MODULES if (found := borrowed(path.read_text("utf-8")))} == {}


def test_an_import_of_a_test_is_seen():
    for line in (
        "from test_api import x",
        "import tests.test_api",
        "from tests import test_api",
        "from . import conftest",
    ):
        assert borrowed(f"def f():\n    {line}\n") != set()


def test_a_fact_stands_by_itself():
    text = "a/run.yaml:3:9: train.steps: got 'x', at least 16; use --fresh"
    assert missing(text, "run.yaml:3:9", "train.steps", "'x'", 16, "--fresh", Path("a/run.yaml")) == []
    assert missing(text, 1, "step", "train", "resh", 3) == ["1", "step", "resh"]


def test_an_error_and_a_warning_without_a_fact_are_noticed():
    with raises(ValueError, 3, "x"):
        raise ValueError("x is 3")
    with pytest.raises(AssertionError), raises(ValueError, 4):
        raise ValueError("x is 3")
    with pytest.raises(AssertionError), warns("x", 4):
        warnings.warn("x is 3", stacklevel=1)
