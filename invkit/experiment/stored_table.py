"""The stored table of an evaluation, and what it was computed with."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from invkit.core.distributed import World
from invkit.core.files import write_json
from invkit.core.settings import PRETRAINED
from invkit.experiment.contents import table_contents
from invkit.experiment.provenance import changed_code, plugin_code
from invkit.experiment.run_folder import RunFolder, flat, table_settings, without_secrets
from invkit.recipe.recipe import Recipe
from invkit.reconstructors.zeroshot.priors import WRITTEN

ADDED = {
    "eval.alpha": 0.1,
    "eval.delta": 0.1,
    "eval.show": [0, 1, 2, 3, 4],
}  # settings that earlier versions did not have, with their effect there


def fingerprint(*parts: object) -> str:
    """SHA-256 of JSON-compatible data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def result_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings that determine the values of a table, by key path; no secrets of URLs."""
    settings = flat(table_settings(yaml.safe_load(recipe.dump())))
    settings.pop("eval.batch", None)  # results do not depend on it
    return json.loads(without_secrets(json.dumps(settings)))


@dataclass(frozen=True)
class Stamp:
    """What a table depends on, stored beside it in `done.json`; settings by key path, weights as SHA-256."""

    settings: Mapping[str, Any]
    weights: str
    code: Mapping[str, str]  # of `plugin_code`
    contents: Mapping[str, str]  # of `table_contents`
    note: str | None  # that the training is unfinished

    @classmethod
    def of(cls, recipe: Recipe, weights: str, note: str | None) -> "Stamp":
        return cls(result_settings(recipe), weights, plugin_code(recipe), table_contents(recipe), note)

    def write(self, folder: RunFolder) -> None:
        write_json(folder.eval / "done.json", vars(self))

    def outdated(self, folder: RunFolder) -> str | None:
        """Why the stored table is out of date, in a few words; None if it is up to date. Raises OSError or ValueError."""
        stored = json.loads((folder.eval / "done.json").read_text("utf-8"))
        if changed := changed_code(stored.get("code", {}), self.code):
            return f"it was computed with other code of {changed[0]}"
        contents = stored.get("contents", {})  # a file that is missing now has not changed
        if others := [key for key in contents if self.contents.get(key, contents[key]) != contents[key]]:
            return f"it was computed with other contents of {others[0]}"
        if "settings" not in stored:
            return (
                None
                if self._as_before(folder, stored["fingerprint"])
                else "it was computed with other settings or weights"
            )
        old = ADDED | _as_now(stored["settings"])
        for key in sorted(old.keys() | self.settings.keys()):
            if old.get(key) != self.settings.get(key):
                return f"it was computed with other settings: {key}={old.get(key)!r}, now {self.settings.get(key)!r}"
        if (stored["weights"], stored["note"]) != (self.weights, self.note):
            return "it was computed with other weights"
        return None

    def _as_before(self, folder: RunFolder, stored: str) -> bool:
        """Whether an earlier version stored the table: with a hash of its resolved recipe and the weights, and no code."""
        files = folder.record().get("evaluated", {}).get("plugin_files", {})  # SHA-256 by name
        code = (text.rsplit(" ", 1) for text in self.code.values())
        resolved = yaml.safe_load((folder.path / "resolved.yaml").read_text("utf-8"))
        same = stored == fingerprint(table_settings(resolved), self.weights)
        return same and all(files.get(name, digest).startswith(digest) for name, digest in code)


def _as_now(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a table as they are written now: a prior was a text in earlier versions."""
    methods = [one if isinstance(one, str) else _with_prior(one) for one in settings.get("eval.methods", ())]
    return {**settings, "eval.methods": methods} if methods else dict(settings)


def _with_prior(method: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(text := method.get("prior"), str):
        return method
    if text in WRITTEN:
        return {**method, "prior": {"name": text}}
    model = text.removeprefix(PRETRAINED)
    return {
        **method,
        "prior": {"name": "run", "path": text} if model == text else {"name": "pretrained", "model": model},
    }


def stored_table(folder: RunFolder, stamp: Stamp, world: World) -> tuple[dict[str, Any] | None, str | None]:
    """The stored table, read by the first process, or why there is none: None and None if none was stored."""
    found: tuple[dict[str, Any] | None, str | None] = (None, None)
    if world.first and (folder.eval / "done.json").exists():
        try:
            reason = stamp.outdated(folder)
            table = None if reason else json.loads((folder.eval / "table.json").read_text("utf-8"))
            found = table, reason
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            found = None, "it is damaged"
    table, reason = json.loads(world.gather(json.dumps(found).encode())[0])
    return table, reason
