"""Create a plugin from templates: an installable distribution with a working example, a test and a recipe."""

import importlib.util
import re
import shutil
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from invkit.core.errors import RecipeError
from invkit.plugins.registry import HOOKS, Registry

_FILES = {  # template -> file
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "gitignore": ".gitignore",
    "recipe.yaml": "recipes/{stem}.yaml",
}
KINDS = {
    hook.removeprefix("invkit_").removesuffix("s"): base.kind for hook, base in HOOKS.items()
}  # as in hooks -> registry


def names(text: str) -> dict[str, str]:
    """The names of a plugin, its module, distribution and class, from user input. Raises RecipeError for an invalid name.

    >>> names("My_Blur")
    {'name': 'my-blur', 'stem': 'my_blur', 'module': 'invkit_my_blur', 'distribution': 'invkit-my-blur', 'cls': 'MyBlur'}
    """
    name = re.sub(r"[-_. ]+", "-", text.strip().lower()).strip("-").removeprefix("invkit-")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 60:
        raise RecipeError(
            f"{text!r} is not a valid plugin name; use letters, digits and hyphens, starting with a letter: my-blur"
        )
    stem = name.replace("-", "_")
    cls = "".join(part.capitalize() for part in name.split("-"))
    return {"name": name, "stem": stem, "module": f"invkit_{stem}", "distribution": f"invkit-{name}", "cls": cls}


def new_plugin(text: str, folder: Path | None, registry: Registry, version: str, kind: str = "degradation") -> Path:
    """Create a plugin of a kind (one of `KINDS`) in a new or empty folder, and return the folder.

    Raises RecipeError if the name is invalid or taken, or the folder is not empty; after an error no files are left.
    """
    values = {**names(text), "kind": kind, "registered": KINDS[kind]}
    _check_free(values, registry)
    folder = folder or Path(values["distribution"])
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise RecipeError(f"{folder} exists and is not empty; choose another: invkit plugins new {text} DIR")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    templates = files("invkit.plugins") / "templates" / "plugin"
    test = f"{kind}_test.py" if (templates / f"{kind}_test.py.j2").is_file() else "other_test.py"
    own = {f"{kind}.py": "{module}.py", test: "tests/test_{stem}.py"}
    sources = {file.format(**values): templates / f"{template}.j2" for template, file in (_FILES | own).items()}
    texts = {
        file: environment.from_string(source.read_text("utf-8")).render(**values, invkit=version)
        for file, source in sources.items()
    }
    created = not folder.exists()
    try:
        for file, content in texts.items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, "utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if not created:
            folder.mkdir(exist_ok=True)
        raise
    return folder


def _check_free(values: dict[str, str], registry: Registry) -> None:
    """Raises RecipeError if the implementation or the module exists already."""
    if origin := registry.origins.get((values["registered"], values["name"])):
        raise RecipeError(
            f"the {values['kind']} {values['name']!r} is already provided by {origin}; choose another name"
        )
    if importlib.util.find_spec(values["module"]):
        raise RecipeError(f"a module {values['module']} is already installed; choose another name")
