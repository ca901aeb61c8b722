"""The pages on theory and on reconstructors name tests that exist, and links between files lead somewhere."""

import ast
import re

import pytest
from support import ROOT

NAME = re.compile(r"\b(tests/[\w/]+\.py)::(\w+)")


def missing(text):
    """The tests that a text names and that are not there."""
    return {f"{path}::{name}" for path, name in NAME.findall(text) if name not in functions(ROOT / path)}


def functions(file):
    body = ast.parse(file.read_text("utf-8")).body if file.is_file() else []
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("name", "least"), [("explanation/theory", 20), ("reference/reconstructors", 10)])
def test_every_test_that_a_page_names_exists(name, least):
    page = (ROOT / "docs" / f"{name}.md").read_text("utf-8")
    assert len(set(NAME.findall(page))) >= least
    assert missing(page) == set()


def test_a_name_that_is_made_up_is_missed():
    # In two parts, so that this file does not name them itself.
    no_function, no_file = "tests/test_api.py::" + "test_nothing", "tests/test_none.py::" + "test_nothing"
    assert missing(f"`{no_function}`, `{no_file}` and `tests/test_docs.py::functions`") == {no_function, no_file}


LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)(?:#[^)]*)?\)")
FILES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts),
]


def broken(text, folder):
    """The links of a page whose target is no file beside it, as on a page that hosts the code."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    return [target for target in LINK.findall(prose) if not (folder / target).exists()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_to_one(path):
    assert broken(path.read_text("utf-8"), path.parent) == []


def test_a_link_to_no_file_is_found():
    assert broken("[a](README.md) [b](docs/none.md#x) [c](https://example.org)", ROOT) == ["docs/none.md"]
