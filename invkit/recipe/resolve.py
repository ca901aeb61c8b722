"""Resolve a tree of plain data to frozen settings through the registry, and convert settings back to plain data."""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from invkit.core.errors import PluginError, RecipeError, suggest
from invkit.core.settings import RELATIVE_PATH, Settings
from invkit.data.base import Dataset
from invkit.evaluation.metrics import METRICS, Metric, parted
from invkit.plugins.registry import Registry
from invkit.recipe.overrides import COMMAND_LINE, override, with_value
from invkit.recipe.yaml_reader import Path, Problem, Tree, brief

SECTIONS = {  # how to write a section that a recipe needs
    "data": "; write data: {name: photos}, or {name: images, root: FOLDER}",
    "degradation": "; write degradation: {name: NAME}; `invkit plugins` lists them",
}

S = TypeVar("S", bound=Settings)


def resolve(cls: type[S], tree: Tree, registry: Registry, folder: FilePath) -> S:
    """Settings of a class from a tree; relative paths in it refer to `folder`.

    A field whose type is a base with a `kind` takes the name of an implementation, or its settings including `name`.
    Raises one RecipeError with a line for each mistake, in the order of the text; PluginError if a plugin that failed to
    load may be the cause.
    """
    settings, details = None, []
    try:
        settings = _Reader(registry).read(cls, tree.data)
    except ValidationError as error:
        details = error.errors(include_url=False)
    if relative := [detail for detail in details if detail["type"] == RELATIVE_PATH]:
        return resolve(cls, _absolute_paths(tree, relative, folder), registry, folder)
    broken = {problem.path for problem in tree.problems if problem.path}
    found = [Problem(tree.place(path), path, message) for path, message in _messages(details, tree.data)]
    problems = tree.problems + [problem for problem in found if problem.path not in broken]
    if settings is None or problems:
        problems.sort(key=lambda problem: _line_and_column(problem.where))
        failed = any(detail["type"] == PluginError.__name__ for detail in details)
        raise (PluginError if failed else RecipeError)("\n".join(dict.fromkeys(map(str, problems))))
    return settings


def resolve_one(registry: Registry, kind: str, name: str, overrides: Sequence[str]) -> Any:
    """The settings of one implementation, given as overrides."""
    cls: type[Settings] = registry.get(kind, name)
    return resolve(cls, override(Tree({}, {(): COMMAND_LINE + name}), overrides), registry, FilePath())


def _line_and_column(where: str) -> tuple[float, float]:
    """Sort key of a place; the command line comes last."""
    found = re.search(r":(\d+):(\d+)$", where)
    return (int(found[1]), int(found[2])) if found else (math.inf, 0)


def _absolute_paths(tree: Tree, relative: Iterable[ErrorDetails], folder: FilePath) -> Tree:
    """The tree with absolute paths; relative ones refer to `folder` or, on the command line, to the working directory."""
    data = tree.data
    for detail in relative:
        absent = str(detail["loc"][-1]).isidentifier()  # the key may be: its value is a default's
        path = _key_path(detail["loc"], data, missing=absent)
        home = FilePath() if tree.place(path).startswith(COMMAND_LINE) else folder
        data, _ = with_value(data, path, os.path.abspath(home / os.path.expanduser(detail["input"])))
    return replace(tree, data=data)


@dataclass(frozen=True)
class _Reader:
    """Validation context of nested `Settings`; collects errors of all levels in one ValidationError."""

    registry: Registry

    def read(self, cls: type[Settings], node: Any) -> Any:
        """Settings of a class or, for the base of a kind, of the implementation named in the node."""
        kind = vars(cls).get("kind")
        if kind:
            cls, node = self._implementation(kind, node)
        elif not isinstance(node, dict):
            raise _mistake(f"should be settings (key: value), got {brief(node)}")
        node = {key: self._with_name(cls.model_fields.get(key), value) for key, value in node.items()}
        try:
            return cls.__pydantic_validator__.validate_json(json.dumps(node), context=self)
        except ValidationError as error:
            known = [*cls.model_fields, *(["name"] if kind else [])]
            raise _mistakes(*_reworded(error.errors(include_url=False), known, kind)) from None

    def _implementation(self, kind: str, node: Any) -> tuple[type[Settings], dict[str, Any]]:
        """The class named in a node, and its settings."""
        if isinstance(node, str):
            node = {"name": node}
        elif not isinstance(node, dict):
            raise _mistake(f"should be the name of a {kind}, or settings with a name, got {brief(node)}")
        elif "name" not in node:
            raise _mistake(f"the setting 'name' is missing{suggest('', self.registry.names(kind))}")
        elif not isinstance(node["name"], str):
            raise _mistake(f"should be the name of a {kind}, got {brief(node['name'])}", "name")
        name, settings = parted(node["name"]) if kind == Metric.kind else (node["name"], {})
        cls = self.get(kind, name, "name")
        if settings.keys() - cls.model_fields.keys():
            able = ", ".join(name for name, cls in METRICS.items() if "block" in cls.model_fields)
            raise _mistake(f"the metric {name!r} is not computed for blocks; these are: {able}", "name")
        return cls, {key: value for key, value in node.items() if key != "name"} | settings

    def get(self, kind: str, name: str, *loc: str) -> type[Settings]:
        """The class registered under a name; raises ValidationError if there is none."""
        try:
            return self.registry.get(kind, name)
        except (RecipeError, PluginError) as error:
            raise _mistake(str(error), *loc, of=type(error)) from None

    def _with_name(self, info: FieldInfo | None, node: Any) -> Any:
        """Settings given without a name, completed by name and settings of the field's default implementation."""
        if info and isinstance(node, dict) and "name" not in node and (kind := kind_of(info)):
            default = info.get_default(call_default_factory=True)
            if isinstance(default, Settings):
                return {"name": self.registry.registered_name(kind, default), **plain(default, self.registry), **node}
        return node


def _reworded(details: Iterable[ErrorDetails], known: Iterable[str], kind: str | None) -> Iterator[ErrorDetails]:
    """Errors with suggestions for unknown settings; without misleading length errors."""
    for detail in details:
        if detail["type"] == "extra_forbidden":
            detail["type"] = RecipeError.__name__
            detail["msg"] = f"unknown setting{suggest(str(detail['loc'][-1]), known)}"
            if kind == Dataset.kind and detail["loc"] == ("root",):
                detail["msg"] += f"; for images of your own, give data.name=images data.root={detail['input']}"
        short = detail["type"] == "too_short" and "ctx" in detail
        if not short or detail["ctx"]["actual_length"] == len(detail["input"]):
            yield detail  # pydantic does not count invalid items, each of which has its own error


def _mistakes(*details: ErrorDetails) -> ValidationError:
    lines = [
        InitErrorDetails(type=PydanticCustomError(one["type"], one["msg"]), loc=one["loc"], input=one["input"])
        for one in details
    ]
    return ValidationError.from_exception_data("recipe", lines)


def _mistake(message: str, *loc: str, of: type[Exception] = RecipeError) -> ValidationError:
    return _mistakes(ErrorDetails(type=of.__name__, msg=message, loc=loc, input=None))


def _messages(details: Iterable[ErrorDetails], node: Any) -> Iterator[tuple[Path, str]]:
    """The key path and the message of each mistake."""
    collected: dict[Path, tuple[list[str], str]] = {}  # a value that fits no member of a union has an error for each
    for detail in details:
        path, message, end = _key_path(detail["loc"], node, detail["type"] == "missing"), detail["msg"], ""
        if detail["type"] == "missing":
            message = "this setting is missing" + _with_setting(node, path)
        elif detail["type"] not in (RecipeError.__name__, PluginError.__name__):
            message = message.removeprefix("Value error, ").replace(" after validation", "")
            message = re.sub("^(Input|Tuple|String|Value) should", "should", message)
            message = message.replace("a valid array", "a list")
            end = f", got {brief(detail['input'])}" if path and not isinstance(detail["input"], dict) else ""
        messages, _ = collected.setdefault(path, ([], end))
        messages.append(message.removeprefix("should be ") if messages else message)
    for path, (messages, end) in collected.items():
        yield (path, " or ".join(dict.fromkeys(messages)) + end)


def _with_setting(node: Any, path: Path) -> str:
    """How to write the missing setting `path` of an implementation, or a missing section; empty for other settings."""
    if len(path) == 1:
        return SECTIONS.get(str(path[0]), "")
    for key in path[:-1]:
        node = node[key]
    name = node.get("name") if isinstance(node, dict) else node
    return f"; write {{name: {name}, {path[-1]}: ...}}" if isinstance(name, str) else ""


def _key_path(loc: tuple[str | int, ...], node: Any, missing: bool = False) -> Path:
    """The key path of an error; its location without the members of unions."""
    path: list[str | int] = []
    for key in loc:
        inside = (isinstance(node, dict) and key in node) or (
            isinstance(node, list) and isinstance(key, int) and key < len(node)
        )
        if inside:
            node = node[key]
        if inside or (missing and key == loc[-1]):
            path.append(key)
    return tuple(path)


def plain(settings: Settings, registry: Registry) -> dict[str, Any]:
    """Settings as plain data, with the names of implementations; `resolve` gives equal settings."""

    def node(value: Any, kind: str | None) -> Any:
        if isinstance(value, tuple):
            return [node(item, kind) for item in value]
        if not isinstance(value, Settings):
            return value
        name = {"name": registry.registered_name(kind, value)} if kind else {}
        return name | plain(value, registry)

    return {key: node(getattr(settings, key), kind_of(info)) for key, info in type(settings).model_fields.items()}


def kind_of(info: FieldInfo) -> str | None:
    """The kind of the implementations that a field, or each item of it, takes; None for other fields."""
    parts = (part for part in _parts(info.annotation) if isinstance(part, type) and issubclass(part, Settings))
    return next((part.kind for part in parts if "kind" in vars(part)), None)


def _parts(annotation: Any) -> list[Any]:
    """An annotation and all types nested in it."""
    return [annotation, *(inner for arg in get_args(annotation) for inner in _parts(arg))]
