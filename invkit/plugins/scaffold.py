"""A new plugin: a distribution that installs, conforms and runs before its author has changed a line."""

import importlib.util
import re
import shutil
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from invkit.core.errors import RecipeError
from invkit.plugins.registry import Registry

_FILES = {  # template -> file
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "gitignore": ".gitignore",
    "module.py": "{module}.py",
    "test.py": "tests/test_{stem}.py",
    "recipe.yaml": "recipes/{stem}.yaml",
}


def names(text: str) -> dict[str, str]:
    """What the parts of a plugin are called, from a word as people write it. Raises RecipeError.

    >>> names("My_Blur")
    {'name': 'my-blur', 'stem': 'my_blur', 'module': 'invkit_my_blur', 'distribution': 'invkit-my-blur', 'cls': 'MyBlur'}
    """
    name = re.sub(r"[-_. ]+", "-", text.strip().lower()).strip("-").removeprefix("invkit-")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 60:
        raise RecipeError(
            f"{text!r} is no name for a plugin; take letters, digits and hyphens, a letter first: my-blur"
        )
    stem = name.replace("-", "_")
    cls = "".join(part.capitalize() for part in name.split("-"))
    return {"name": name, "stem": stem, "module": f"invkit_{stem}", "distribution": f"invkit-{name}", "cls": cls}


def new_plugin(text: str, folder: Path | None, registry: Registry, version: str) -> Path:
    """Write a plugin of some name into a folder that is empty or not there; returns the folder.

    Raises RecipeError where the name is none or taken, or the folder is; nothing half-written stays.
    """
    values = names(text)
    _free(values, registry)
    folder = folder or Path(values["distribution"])
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise RecipeError(f"{folder} exists and is not empty; name another: invkit plugins new {text} DIR")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    templates = files("invkit.plugins") / "templates" / "plugin"
    sources = {file.format(**values): templates / f"{template}.j2" for template, file in _FILES.items()}
    texts = {
        file: environment.from_string(source.read_text("utf-8")).render(**values, invkit=version)
        for file, source in sources.items()
    }
    made = not folder.exists()
    try:
        for file, content in texts.items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, "utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if not made:
            folder.mkdir(exist_ok=True)
        raise
    return folder


def _free(values: dict[str, str], registry: Registry) -> None:
    if origin := registry.origins.get(("degradation", values["name"])):
        raise RecipeError(f"the degradation {values['name']!r} is provided by {origin} already; take another name")
    if importlib.util.find_spec(values["module"]):
        raise RecipeError(f"a module {values['module']} is installed already; take another name")
