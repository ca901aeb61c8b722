"""The publications behind what a recipe uses: its data, degradation, network, sampler, methods and metrics."""

import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel

from invkit.core.settings import Settings
from invkit.recipe.read import PACKAGE

OWN = "invkit (2026): posterior samples for inverse problems in imaging, evaluated against baselines. Software, {version}."


def citations(settings: BaseModel) -> list[str]:
    """A line for invkit, and one for each publication that the classes of the settings name, by author.

    A class names publications by `cites`, or as `Chung et al. 2023` in the docstring of its class or module; the latter
    are looked up in the page of references.
    """
    found: set[str] = set()
    for cls in set(_classes(settings)):
        if cls.cites:
            found.add(cls.cites)
        if cls.__module__.split(".")[0].startswith("invkit"):
            text = _plain(f"{cls.__doc__} {sys.modules[cls.__module__].__doc__}")
            found |= {line for line, pattern in _references() if re.search(pattern, text)}
    return [OWN.format(version=f"version {version('invkit')}"), *sorted(found)]


def _classes(value: object) -> Iterator[type[Settings]]:
    """The classes of all settings, at any depth."""
    if isinstance(value, BaseModel):
        if isinstance(value, Settings):
            yield type(value)
        for name in type(value).model_fields:
            yield from _classes(getattr(value, name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _classes(item)


@cache
def _references() -> tuple[tuple[str, str], ...]:
    """The lines of the page of references, with a pattern of the first author and the year."""
    page = next(path for path in _pages() if path.is_file()).read_text("utf-8")
    lines = re.findall(r"^- (([^,(]+)(?:,|\().*?\((\d{4})\).*)$", page, re.M)
    return tuple(
        (line.replace("*", ""), rf"\b{re.escape(_plain(author.split()[0]))}\b[^;()]{{0,40}}\(?{year}")
        for line, author, year in lines
    )


def _pages() -> tuple[Path, Path]:
    return PACKAGE / "references.md", PACKAGE.parent / "docs" / "reference" / "references.md"  # a wheel; a source tree


def _plain(text: str) -> str:
    """Without accents."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
