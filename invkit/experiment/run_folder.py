"""A run's folder: who it belongs to, what is in it, and what is already done."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from invkit.core.errors import DataError, PluginError, RecipeError
from invkit.core.files import locked, make_folder, write_atomic
from invkit.plugins.registry import Registry
from invkit.recipe.recipe import Recipe, load_recipe

# What may change between two runs into one folder; everything else decides the weights.
_FREE = {"eval", "log", "sample"}
_FREE_TRAIN = {"steps", "budget", "checkpoint_every", "sample_every", "keep", "on_nonfinite", "compile", "workers"}

# In an address (also one that was taken for a path): a name and password, and what a query says is secret.
_USER = re.compile(r"(?<=[a-z0-9+.-]{2}:)(/{1,2})[^\s/@'\"]+@", re.IGNORECASE)
_TOKEN = re.compile(
    r"([?&;][^\s=&;?]*(?:token|key|sig|secret|passw|pwd|auth|cred)[^\s=&;?]*=)[^\s&;'\"#]+", re.IGNORECASE
)


def without_secrets(text: str) -> str:
    """A text without passwords and tokens in its addresses.

    >>> without_secrets("https://me:pw@host/a?token=abc&size=3")
    'https://host/a?token=&size=3'
    """
    return _TOKEN.sub(r"\1", _USER.sub(r"\1", text))


def _identity(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, by key path, that a folder's weights depend on."""

    def flat(node: Any, path: str) -> dict[str, Any]:
        if isinstance(node, Mapping):
            return {k: v for key, value in node.items() for k, v in flat(value, f"{path}.{key}").items()}
        return {path[1:]: node}

    kept = {key: value for key, value in resolved.items() if key not in _FREE}
    kept["train"] = {key: value for key, value in kept["train"].items() if key not in _FREE_TRAIN}
    return flat(kept, "")


def table_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings, by section, that determine a table besides the weights."""
    resolved = yaml.safe_load(recipe.dump())
    kept = {key: value for key, value in resolved.items() if key not in {"log", "train"}}
    return {**kept, "grids": resolved["train"]["grids"]}


def cache_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings, other than the weights, that determine the cached results of an image."""
    kept = table_settings(recipe)
    tabulated = ("batch", "checkpoint", "images", "paired_to")  # the number of images, and how results are tabulated
    return {**kept, "eval": {key: value for key, value in kept["eval"].items() if key not in tabulated}}


class RunFolder:
    """The files of one run, by the names that the documentation gives them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.eval = path / "eval"
        self.metrics = path / "metrics.jsonl"
        self.log = path / "log.txt"
        self.report = path / "report.html"
        self.tensorboard = path / "tensorboard"

    def sheet(self, step: int) -> Path:
        """The sample grid of a step."""
        return self.samples / f"iter_{step:06d}.png"

    @contextmanager
    def claim(self, recipe: Recipe, *, fresh: bool) -> Iterator[None]:
        """Hold the folder alone and make it this recipe's own, or go on in it.

        Raises RecipeError, with the way out, where another process holds it, where it belongs to another recipe or seed,
        or where it is no run folder at all.
        """
        if fresh and self.path.exists():
            number = 1
            while (aside := self.path.with_name(f"{self.path.name}.old{number}")).exists():
                number += 1
            with locked(self.path):
                self.path.rename(aside)
        resolved = self.path / "resolved.yaml"
        # A process that was killed at the very start leaves names that begin with a dot.
        if not resolved.exists() and self.path.exists() and any(p.name[0] != "." for p in self.path.iterdir()):
            raise RecipeError(f"{self.path} is not empty and holds no run; give another folder with --out DIR")
        make_folder(self.path)
        with locked(self.path):
            text = without_secrets(recipe.dump())
            if resolved.exists():
                self._check(yaml.safe_load(text), yaml.safe_load(resolved.read_text("utf-8")))
            write_atomic(resolved, text)  # first: it says whose the folder is
            write_atomic(self.path / "recipe.yaml", without_secrets(recipe.text) or text)
            yield

    def _check(self, new: Mapping[str, Any], old: Mapping[str, Any]) -> None:
        mine, theirs = _identity(new), _identity(old)
        changed = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
        if changed:
            first = changed[0]
            more = f" and {len(changed) - 1} more settings" if len(changed) > 1 else ""
            raise RecipeError(
                f"{self.path} holds a run with {first}={theirs.get(first)!r}, now {mine.get(first)!r}{more}; give "
                "another folder with --out DIR, or move the old one aside with --fresh"
            )

    @classmethod
    def open(
        cls, path: Path, overrides: tuple[str, ...] = (), registry: Registry | None = None
    ) -> tuple["RunFolder", Recipe]:
        """An existing run and its recipe; raises DataError where there is none.

        A folder never says which code to import: the plugin files of a run are given again, in `registry`.
        """
        resolved = path / "resolved.yaml"
        if not resolved.is_file():
            raise DataError(f"{path} is no run folder (it has no resolved.yaml); `invkit run RECIPE` makes one")
        folder = cls(path)
        try:
            return folder, load_recipe(resolved, overrides, registry)
        except (RecipeError, PluginError) as error:
            absent = sorted(folder.record().get("plugin_files", {}).keys() - {Path(f).name for f in _files(registry)})
            if not absent:
                raise
            given = " ".join(f"--plugin {name}" for name in absent)
            raise type(error)(f"{error}\n{path} was made with {given}; give it again") from None

    def keep_metrics(self, step: int) -> None:
        """Drop logged records after a step: what follows it will be logged anew."""
        if self.metrics.exists():
            lines = self.metrics.read_text("utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= step]
            write_atomic(self.metrics, "".join(f"{line}\n" for line in kept))

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def note(self, text: str) -> None:
        """Add a line to the run's log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z {without_secrets(text)}\n")

    def update_record(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Merge facts into `record.json`; it holds no environment variables, and no secrets in addresses."""
        text = without_secrets(json.dumps({**self.record(), **facts}, indent=1, sort_keys=True))
        write_atomic(self.path / "record.json", text + "\n")
        return json.loads(text)

    def record(self) -> dict[str, Any]:
        """What `record.json` holds; nothing where there is none."""
        try:
            record = json.loads((self.path / "record.json").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}


def _files(registry: Registry | None) -> Mapping[str, str]:
    return registry.files if registry else {}


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):  # a line that a kill cut short
        return float("inf")


def environment(recipe: Recipe, device: str) -> dict[str, Any]:
    """What a reader needs to repeat a run: versions, plugins, seed, device, commit."""
    from importlib.metadata import version

    origins = recipe.registry.origins
    chosen = recipe.eval
    used = [("degradation", recipe.degradation), ("dataset", recipe.data)]
    used += [*(("method", one) for one in chosen.methods), *(("metric", one) for one in chosen.metrics)]
    plugins = {
        f"{kind} {name}": str(origins[kind, name])
        for kind, settings in used
        if (name := recipe.registry.name_of(settings)) and (kind, name) in origins and not origins[kind, name].core
    }
    packages = ("invkit", "torch", "torchvision", "torchmetrics", "kornia", "numpy", "pillow")
    return {
        "seed": recipe.seed,
        "device": device,
        "plugins": dict(sorted(plugins.items())),
        "plugin_files": {Path(file).name: digest for file, digest in recipe.registry.files.items()},  # SHA-256
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit of invkit's own source tree, where it runs from one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", os.fspath(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
