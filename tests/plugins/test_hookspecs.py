"""Hooks are typed, have an example, and stand in `docs/reference/hooks.md` exactly as they are."""

import inspect
import re

import pytest
from support import DOCS

from invkit.core.grid import Grid
from invkit.data.base import Dataset
from invkit.plugins import hookspecs
from invkit.plugins.loader import load
from invkit.plugins.registry import HOOKS

PAGE = DOCS / "reference/hooks.md"

FOUND = dict(inspect.getmembers(hookspecs, lambda value: hasattr(value, "invkit_spec")))


def test_every_hook_is_loaded_and_nothing_else():
    assert set(FOUND) == set(HOOKS)


def test_hooks_take_nothing_are_typed_and_show_an_example():
    for name, hook in FOUND.items():
        signature = inspect.signature(hook)
        assert name.startswith("invkit_")
        assert not signature.parameters
        assert "Mapping[str, type[" in str(signature.return_annotation)
        assert f"@hookimpl\n        def {name}():" in hook.__doc__


def headings(text):
    """The hooks that a page documents: signature -> the text below it."""
    parts = re.split(r"^## `(.+)`$", text, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def signatures():
    return {f"{name}{inspect.signature(hook)}".replace("'", "") for name, hook in FOUND.items()}


def test_every_hook_has_a_heading_with_its_exact_signature():
    assert set(headings(PAGE.read_text("utf-8"))) == signatures()
    assert signatures() != set(
        headings(PAGE.read_text("utf-8").replace("invkit_datasets() ->", "invkit_datasets(seed) ->"))
    )


@pytest.mark.parametrize("signature", sorted(signatures()))
def test_the_examples_of_the_page_are_plugins(signature, write):
    """That they conform is tested with `invkit plugins check`."""
    (example,) = re.findall(r"```python\n(.*?)```", headings(PAGE.read_text("utf-8"))[signature], re.S)
    found = load([], [str(write(example, "example.py"))])
    assert found.failures == ()
    (cls,) = [found.names(kind)[name] for (kind, name), origin in found.origins.items() if origin.plugin == "example"]
    if issubclass(cls, Dataset):
        images = cls().open("test", Grid(4, 6), 0, 5)
        assert (len(images), images[[0, 3]].shape) == (5, (2, 3, 4, 6))
        assert images[[0, 3]][1].unique().numel() == 1
        assert images[[3]].equal(images[[0, 3]][1:])
