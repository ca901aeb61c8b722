"""Fills the pages of the site: a line `<!-- generated: NAME -->` of a page is replaced by what NAME makes."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import reference
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
PROJECT = {"CHANGELOG.md": "changelog", "CONTRIBUTING.md": "contributing", "SECURITY.md": "security"}


def of_the_root(name: str) -> str:
    """A file of the root as a page of the folder `project`."""
    return (ROOT / name).read_text("utf-8").replace("](docs/", "](../")


GENERATED: dict[str, Callable[[], str]] = {
    **{name: partial(of_the_root, name) for name in PROJECT},
    "recipe": reference.recipe,
    "values": reference.values,
    "gallery": reference.gallery,
    "commands": reference.commands,
    "functions": reference.functions,
    "bibtex": reference.bibtex,
}


def fill(text: str) -> str:
    """The text of a page with its generated parts, and with links to files of the root as links to their pages."""
    text = re.sub(r"^<!-- generated: (\S+) -->$", lambda found: GENERATED[found[1]](), text, flags=re.M)
    return re.sub(r"\]\((?:\.\./)*([A-Z]+\.md)", lambda found: f"](/project/{PROJECT[found[1]]}.md", text)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", lambda app, name, source: source.__setitem__(0, fill(source[0])))
    app.connect("autodoc-process-docstring", reference.as_rst)
    return {"parallel_read_safe": True}
