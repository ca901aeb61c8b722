"""Run folders: their files, the recipe they belong to, and their record."""

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from invkit.core.errors import DataError, PluginError, RecipeError, first_line
from invkit.core.files import locked, make_folder, write_atomic
from invkit.experiment.model_file import ModelFile
from invkit.experiment.provenance import TABLE_ONLY, changed_code, plugin_code
from invkit.plugins.registry import Registry
from invkit.recipe.recipe import Recipe, load_recipe, parse_recipe
from invkit.training.checkpoint import last_step

# Settings that may change when a run is resumed: the weights do not depend on them, except for rounding, for the length of
# the training, and for the random numbers of dropout (`accumulate`).
_CHANGEABLE = {"eval", "log", "sample"}
_CHANGEABLE_KEYS = {
    "model.recompute", "train.accumulate", "train.budget", "train.checkpoint_every", "train.compile", "train.determinism",
    "train.keep", "train.on_nonfinite", "train.precision", "train.sample_every", "train.steps", "train.workers",
}  # fmt: skip

# Secrets in a URL (also with `//` reduced to `/`, as in a path): user name and password, and query parameters such as tokens.
_USER = re.compile(r"(?<=[a-z0-9+.-]{2}:)(/{1,2})[^\s/@'\"]+@", re.IGNORECASE)
_TOKEN = re.compile(
    r"([?&;][^\s=&;?]*(?:token|key|sig|secret|passw|pwd|auth|cred)[^\s=&;?]*=)[^\s&;'\"#]+", re.IGNORECASE
)


def without_secrets(text: str) -> str:
    """Remove passwords and tokens from the URLs in a text.

    >>> without_secrets("https://me:pw@host/a?token=abc&size=3")
    'https://host/a?token=&size=3'
    """
    return _TOKEN.sub(r"\1", _USER.sub(r"\1", text))


def flat(node: Any, path: str = "") -> dict[str, Any]:
    """The values of nested mappings, by key path."""
    if isinstance(node, Mapping):
        return {k: v for key, value in node.items() for k, v in flat(value, f"{path}.{key}").items()}
    return {path[1:]: node}


def _weight_settings(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that determine the weights, by key path."""
    kept = flat({key: value for key, value in resolved.items() if key not in _CHANGEABLE})
    if kept.pop("train.evaluate_every", None) is None:  # no images are held out
        kept["train.evaluate_images"] = None
    return {key: value for key, value in kept.items() if key not in _CHANGEABLE_KEYS}


def table_settings(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a resolved recipe, other than the weights, that determine a table, by section."""
    kept = {key: value for key, value in resolved.items() if key not in {"log", "train"}}
    noise = {
        key: value for key, value in kept["noise"].items() if (key, value) != ("name", "gaussian")
    }  # as earlier versions
    return {**kept, "noise": noise, "grids": resolved["train"]["grids"]}


def cache_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings, other than the weights, that determine the cached results of an image."""
    kept = table_settings(yaml.safe_load(recipe.dump()))
    tabulated = (
        "alpha",
        "batch",
        "checkpoint",
        "delta",
        "images",
        "paired_to",
        "show",
    )  # the number of images, and how results are tabulated
    return {**kept, "eval": {key: value for key, value in kept["eval"].items() if key not in tabulated}}


RUNS = Path("runs")  # folder of the runs without --out


def seed_runs(path: Path) -> list[Path]:
    """The runs of several seeds in a folder, `seed-N`, in the order of the seeds; empty for any other folder."""
    found = [p for p in path.glob("seed-*") if re.fullmatch(r"seed-\d+", p.name) and (p / "resolved.yaml").is_file()]
    return sorted(found, key=lambda p: int(p.name.partition("-")[2]))


class RunFolder:
    """Paths and records of one run; or those of the evaluations of a model file, whose weights and facts are in that file."""

    def __init__(self, path: Path, model: ModelFile | None = None) -> None:
        self.path, self.model = path, model
        self.given = model.given if model else str(path)  # as commands take it
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.eval = path / "eval"
        self.metrics = path / "metrics.jsonl"
        self.log = path / "log.txt"
        self.report = path / "report.html"
        self.record_file = path / "record.json"
        self.tensorboard = path / "tensorboard"
        self.split = path / "split.json"

    @property
    def name(self) -> str:
        """The name of the folder, also where it is given as `.`."""
        return Path(os.path.abspath(self.path)).name

    def with_evaluation(self, name: str) -> "RunFolder":
        """The same run with the files of another evaluation, in `eval/NAME`. Raises RecipeError for an unusable name."""
        if not re.fullmatch(r"[A-Za-z0-9][\w-]{0,63}", name) or name in ("partial", "reconstructions"):
            raise RecipeError(
                f"--name {name}: must be letters, digits, - and _, at most 64, and not partial or reconstructions"
            )
        other = RunFolder(self.path, self.model)
        other.eval = self.eval / name
        other.report, other.record_file = other.eval / "report.html", other.eval / "record.json"
        return other

    def sheet(self, step: int) -> Path:
        """Path of the sample grid of a step."""
        return self.samples / f"iter_{step:06d}.png"

    @contextmanager
    def claim(self, recipe: Recipe, *, fresh: bool) -> Iterator[None]:
        """Lock the folder inside a `with` block; create it, or check that its run is of this recipe.

        With `fresh` an existing folder is renamed first. Raises RecipeError, with a remedy, if another process holds the
        folder, its checkpoints were trained with another value of a setting that determines the weights, or it contains
        files but no run.
        """
        if fresh and self.path.exists():
            number = 1
            while (aside := self.path.with_name(f"{self.path.name}.old{number}")).exists():
                number += 1
            with locked(self.path):
                self.path.rename(aside)
        resolved = self.path / "resolved.yaml"
        # Names that begin with a dot may be left by a process that was killed at its start.
        if not resolved.exists() and self.path.exists() and any(p.name[0] != "." for p in self.path.iterdir()):
            held = "the runs of several seeds (--seeds)" if seed_runs(self.path) else "no run"
            raise RecipeError(f"{self.path} is not empty and holds {held}; give another folder with --out DIR")
        make_folder(self.path)
        with locked(self.path):
            text, before = without_secrets(recipe.dump()), resolved.read_text("utf-8") if resolved.exists() else None
            if before is not None and self.has_checkpoint:
                self._check_length(recipe)
                self._check(yaml.safe_load(text), _with_defaults(resolved, before, recipe.registry))
            write_atomic(resolved, text)  # first, since it identifies the recipe of the folder
            if recipe.text != before:  # else the recipe was read from this folder, whose recipe.yaml stays
                write_atomic(self.path / "recipe.yaml", without_secrets(recipe.text) or text)
            yield

    def _check_length(self, recipe: Recipe) -> None:
        step, total = last_step(self.checkpoints), recipe.train.total
        if total is not None and total < step:
            raise RecipeError(
                f"{self.path} holds a run of {step} steps, more than train.steps={total}; give train.steps={step} or more, "
                "another folder with --out DIR, or move the old one aside with --fresh"
            )

    def _check(self, new: Mapping[str, Any], old: Mapping[str, Any]) -> None:
        new, old = _weight_settings(new), _weight_settings(old)
        changed = sorted(key for key in new.keys() | old.keys() if new.get(key) != old.get(key))
        if changed:
            first = changed[0]
            more = f" and {len(changed) - 1} more settings" if len(changed) > 1 else ""
            raise RecipeError(
                f"{self.path} holds a run with {first}={old.get(first)!r}, now {new.get(first)!r}{more}; give "
                "another folder with --out DIR, or move the old one aside with --fresh"
            )

    @classmethod
    def find(cls, path: Path, into: Path | None = None) -> "RunFolder":
        """The folder of an existing run, given by its path or by its name in `runs`; or a model file, with its folder `into`.

        The folder of a model file is by default `runs/NAME`; it is made when something is evaluated. Raises DataError if there
        is none.
        """
        if model := ModelFile.find(path):
            return cls(into or RUNS / model.name, model)
        if into:
            raise RecipeError(f"--into {into}: {path} is no model file, and a run folder holds its own evaluations")
        asked, path = path, path if path.exists() or path.is_absolute() else RUNS / path
        if not (path / "resolved.yaml").is_file():
            if seeds := seed_runs(path):
                raise DataError(f"{asked} holds the runs of {len(seeds)} seeds; give one of them, such as {seeds[0]}")
            at = str(asked) if asked.exists() else f"{asked}, here or in {RUNS},"
            if file := flat(cls(path).record()).get("model_file.given"):
                raise DataError(f"{at} holds evaluations of {file}; give that")
            raise DataError(f"{at} is no run folder (it has no resolved.yaml); `invkit run RECIPE` creates one")
        return cls(path)

    @classmethod
    def open(
        cls, path: Path, overrides: tuple[str, ...] = (), registry: Registry | None = None
    ) -> tuple["RunFolder", Recipe]:
        """Open an existing run, as `find`; returns the folder and its recipe."""
        folder = cls.find(path)
        return folder, folder.recipe(overrides, registry)

    def recipe(self, overrides: tuple[str, ...] = (), registry: Registry | None = None) -> Recipe:
        """The recipe of the run, with overrides.

        A run folder never causes code to be imported: the plugin files of the run must be given again, in `registry`.
        """
        try:
            if self.model:
                return self.bound(parse_recipe(self.model.recipe, self.model.path.absolute(), overrides, registry))
            return self.bound(load_recipe(self.path / "resolved.yaml", overrides, registry))
        except (RecipeError, PluginError) as error:
            absent = sorted(self.record().get("plugin_files", {}).keys() - {Path(f).name for f in _files(registry)})
            if not absent:
                raise
            given = " ".join(f"--plugin {name}" for name in absent)
            raise type(error)(f"{error}\n{self.given} was created with {given}; give it again") from None

    def claim_evaluations(self) -> None:
        """Make the folder of a model file's evaluations. Raises RecipeError if it holds anything else."""
        assert self.model is not None
        if self.record().get("model_file"):
            return
        if self.path.exists() and any(p.name[0] != "." for p in self.path.iterdir()):
            raise RecipeError(f"{self.path} holds something else than evaluations of {self.given}; give --into DIR")
        make_folder(self.path)
        self.update_record({"model_file": {"given": self.given, "sha256": self.model.sha256}})

    @property
    def has_checkpoint(self) -> bool:
        """Whether the folder holds a run whose training has begun."""
        stored = (self.path / "resolved.yaml").exists() and self.checkpoints.exists()
        return stored and any(self.checkpoints.iterdir())

    def recorded_split(self) -> dict[str, Any] | None:
        """The content of `split.json`; None for a run without, as of earlier versions. Raises DataError if it is damaged."""
        if self.model:
            return self.model.split
        try:
            return json.loads(self.split.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise DataError(f"{self.split} is damaged ({error}); restore it, or train anew with --fresh") from None

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved recipe as plain data, for which no plugin is needed. Raises DataError if it is damaged."""
        try:
            text = self.model.recipe if self.model else (self.path / "resolved.yaml").read_text("utf-8")
            found = yaml.safe_load(text)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise DataError(f"{self.given}: its resolved recipe cannot be read: {first_line(error)}") from None
        if not isinstance(found, dict):
            raise DataError(f"{self.given}: its resolved recipe is none; restore it, or train anew with --fresh")
        return found

    def bound(self, recipe: Recipe) -> Recipe:
        """A recipe of this run, or one with overrides, whose data set has the split that the run recorded.

        A model file knows the training images only: the split is made anew, without test images that it was trained on.
        """
        if self.model:
            apart = ("root", "group", "group_file") if self.model.split else ()
            return recipe.model_copy(update={"data": recipe.data.with_split(self.model.split, apart)})
        stored = self.settings["data"]
        own = yaml.safe_load(without_secrets(recipe.dump()))["data"]
        changed = [key for key in stored if stored[key] != own.get(key)]
        return recipe.model_copy(update={"data": recipe.data.with_split(self.recorded_split(), changed)})

    def truncate_metrics(self, step: int) -> None:
        """Delete logged records after a step; a resumed run logs them again."""
        if self.metrics.exists():
            lines = self.metrics.read_text("utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= step]
            write_atomic(self.metrics, "".join(f"{line}\n" for line in kept))

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def note(self, text: str) -> None:
        """Append a line to log.txt."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z {without_secrets(text)}\n")

    def stored(self, name: str) -> dict[str, Any]:
        """A file of the evaluation, `table.json` or `cost.json`. Raises DataError if it cannot be read."""
        path = self.eval / name
        try:
            return json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}); `invkit eval {self.path}` computes it again") from None

    def update_record(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Merge facts into `record.json`, without secrets in URLs, and return the record."""
        text = without_secrets(json.dumps({**self.record(), **facts}, indent=1, sort_keys=True))
        write_atomic(self.record_file, text + "\n")
        return json.loads(text)

    def record(self) -> dict[str, Any]:
        """The content of `record.json`, empty if it is missing or damaged; of a model file not yet evaluated, its own."""
        try:
            record = json.loads(self.record_file.read_text("utf-8"))
        except (OSError, ValueError):
            record = None
        record = record if isinstance(record, dict) else {}
        if self.model and flat(record).get("model_file.sha256") != self.model.sha256:
            return self.model.record
        return record


def _files(registry: Registry | None) -> Mapping[str, str]:
    return registry.files if registry else {}


def _with_defaults(path: Path, text: str, registry: Registry) -> dict[str, Any]:
    """The settings of a stored recipe, with the defaults of settings that earlier versions did not have."""
    with suppress(RecipeError, PluginError):  # of a plugin that is not loaded: what differs is stated
        text = without_secrets(load_recipe(path, (), registry).dump())
    return yaml.safe_load(text)


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):  # a line cut short when the process was killed
        return float("inf")


def warn_of_changed_code(folder: RunFolder, recipe: Recipe) -> None:
    """Warn if the model of a run was trained with other code of its plugins than is used now."""
    before = folder.record().get("trained_with", {})
    code = {name: text for name, text in plugin_code(recipe).items() if name.split()[0] not in TABLE_ONLY}
    for changed in changed_code(before, code):
        warnings.warn(
            f"{folder.given} was trained with other code of {changed}; `invkit run RECIPE --fresh` trains again",
            stacklevel=3,
        )
