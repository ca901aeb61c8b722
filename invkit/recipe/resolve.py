"""From a tree of plain data to frozen settings, through the registry, and back."""

import functools
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import Field, PlainValidator, ValidationError, ValidationInfo, create_model
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from invkit.core.errors import PluginError, RecipeError
from invkit.core.settings import IsName, IsPath, Settings
from invkit.data.base import Dataset
from invkit.diffusion.networks.base import Network
from invkit.physics.degradation import Degradation
from invkit.physics.gaussian import StationaryField
from invkit.plugins.registry import Registry, suggest
from invkit.recipe.overrides import COMMAND_LINE
from invkit.recipe.yaml_reader import Path, Problem, Tree, brief

_BASES = {Dataset: "dataset", Degradation: "degradation", Network: "network", StationaryField: "field"}
_FAILED = object()
S = TypeVar("S", bound=Settings)


def resolve(cls: type[S], tree: Tree, registry: Registry, choices: Mapping[Path, str], folder: FilePath) -> S:
    """Settings of a class from a whole tree; paths in it are relative to `folder`.

    `choices` says which key paths choose an implementation, and of which kind (`*` stands for each item of a list);
    fields typed `Dataset`, `Degradation` or `Network` do so anywhere. Raises one RecipeError (or PluginError, where a
    plugin that failed may be why) with a line for each mistake, in the order of the text.
    """
    resolver = _Resolver(tree, registry, choices, folder)
    made = resolver.settings(cls, tree.data, ())
    broken = {problem.path for problem in tree.problems if problem.path}
    problems = tree.problems + [problem for problem in resolver.problems if problem.path not in broken]
    if problems:
        problems.sort(key=lambda problem: _line_and_column(problem.where))
        raise resolver.error("\n".join(dict.fromkeys(map(str, problems))))
    return made


def _line_and_column(where: str) -> tuple[float, float]:
    """A place as a key to sort by; the command line comes last."""
    found = re.search(r":(\d+):(\d+)$", where)
    return (int(found[1]), int(found[2])) if found else (math.inf, 0)


class _Resolver:
    """Builds settings from a tree and collects every mistake on the way."""

    def __init__(self, tree: Tree, registry: Registry, choices: Mapping[Path, str], folder: FilePath) -> None:
        self.tree, self.registry, self.choices, self.folder = tree, registry, choices, folder
        self.problems: list[Problem] = []
        self.error: type[RecipeError] | type[PluginError] = RecipeError

    def settings(self, cls: type[Settings], node: Any, path: Path, also: tuple[str, ...] = ()) -> Any:
        """Settings of a class from a node, or `_FAILED`; `also` are keys known beside the fields of the class."""
        if not isinstance(node, dict):
            return self._problem(path, f"should be settings (key: value), got {brief(node)}")
        builds = {name: self._nested(cls, name, (*path, name)) for name in cls.model_fields}
        builds = {name: build for name, build in builds.items() if build}
        ready: list[Any] = []
        plain: dict[str, Any] = {}
        for key, value in node.items():
            if build := builds.get(key):
                ready.append(build(value))
                plain[key] = len(ready) - 1
            else:
                self._known(cls, key, value, (*path, key))
                plain[key] = self._located(cls, key, value, (*path, key))
        model = shadow(cls, tuple(builds)) if builds else cls
        try:
            made = model.model_validate_json(json.dumps(plain), context=ready)
        except ValidationError as error:
            self._explain(error.errors(include_url=False), cls, plain, path, also)
            return _FAILED
        if not builds:
            return made
        values = {name: getattr(made, name) for name in cls.model_fields}
        return cls.model_construct(_fields_set=made.model_fields_set, **values)

    def choice(self, kind: str, node: Any, path: Path, default: object = None) -> Any:
        """The settings of the implementation that a node names."""
        at = path
        if isinstance(node, str):
            node = {"name": node}
        elif not isinstance(node, dict):
            return self._problem(path, f"should be the name of a {kind}, or settings with a name, got {brief(node)}")
        elif "name" in node:
            at = (*path, "name")
        elif isinstance(default, Settings):
            own = plain(default, self.registry, self.choices, path)
            node = {"name": self.registry.called(kind, default), **own, **node}
        else:
            return self._problem(path, f"the setting 'name' is missing{suggest('', self.registry.names(kind))}")
        if not isinstance(node["name"], str):
            return self._problem(at, f"should be the name of a {kind}, got {brief(node['name'])}")
        if (cls := self._get(kind, node["name"], at)) is _FAILED:
            return _FAILED
        return self.settings(cls, {key: value for key, value in node.items() if key != "name"}, path, ("name",))

    def _get(self, kind: str, name: str, path: Path) -> Any:
        """The class of a name, or `_FAILED`."""
        try:
            return self.registry.get(kind, name)
        except (RecipeError, PluginError) as error:
            if isinstance(error, PluginError):
                self.error = PluginError
            return self._problem(path, str(error))

    def _known(self, cls: type[Settings], key: str, value: Any, path: Path) -> None:
        """Report a value that should name an implementation and does not."""
        if (kind := named_kind(cls, key)) and isinstance(value, str):
            self._get(kind, value, path)

    def _items(self, build: Callable[..., Any], node: Any, path: Path) -> Any:
        if not isinstance(node, list):
            return self._problem(path, f"should be a list, got {brief(node)}")
        made = tuple(build(item, (*path, i)) for i, item in enumerate(node))
        return _FAILED if any(item is _FAILED for item in made) else made

    def _nested(self, cls: type[Settings], name: str, path: Path) -> Callable[[Any], Any] | None:
        """What builds a field that holds settings of its own; None for a plain value."""
        info = cls.model_fields[name]
        kind, section, optional = nested(cls, name, path, self.choices)
        one: Callable[..., Any]
        if kind:
            one = functools.partial(self.choice, kind)
        elif section:
            one = functools.partial(self.settings, section)
        else:
            return None
        if is_list(cls, name, path, self.choices):
            build = functools.partial(self._items, one, path=path)
        elif kind:
            build = functools.partial(one, path=path, default=info.get_default(call_default_factory=True))
        else:
            build = functools.partial(one, path=path)
        return (lambda node: None if node is None else build(node)) if optional else build

    def _located(self, cls: type[Settings], key: str, value: Any, path: Path) -> Any:
        """A value, where it is a path made absolute: relative to the recipe or, on the command line, to the cwd."""
        info = cls.model_fields.get(key)
        if isinstance(value, list):
            return [self._located(cls, key, item, (*path, i)) for i, item in enumerate(value)]
        if info is None or not isinstance(value, str) or not value:
            return value
        if not any(isinstance(part, IsPath) for part in [*info.metadata, *_parts(info.annotation)]):
            return value
        folder = FilePath() if self.tree.place(path).startswith(COMMAND_LINE) else self.folder
        return os.path.abspath(folder / FilePath(value).expanduser())

    def _problem(self, path: Path, message: str) -> object:
        self.problems.append(Problem(self.tree.place(path), path, message))
        return _FAILED

    def _explain(
        self, details: list[ErrorDetails], cls: type[Settings], node: Any, path: Path, also: tuple[str, ...]
    ) -> None:
        said: dict[Path, tuple[list[str], str]] = {}  # a value that fits no member of a union has an error for each
        for detail in details:
            if detail["type"] == "nested":
                continue  # reported where it happened
            loc, end = _cleaned(detail["loc"], node, detail["type"] == "missing"), ""
            if detail["type"] == "extra_forbidden":
                message = "unknown setting" + suggest(str(detail["loc"][-1]), [*cls.model_fields, *also])
            elif detail["type"] == "missing":
                message = "this setting is missing"
            else:
                message = detail["msg"].removeprefix("Value error, ").replace(" after validation", "")
                message = re.sub("^(Input|Tuple|String|Value) should", "should", message)
                message = message.replace("valid array", "valid list")
                end = f", got {brief(detail['input'])}" if loc and not isinstance(detail["input"], dict) else ""
            messages, _ = said.setdefault(loc, ([], end))
            messages.append(message.removeprefix("should be ") if messages else message)
        for loc, (messages, end) in said.items():
            self._problem((*path, *loc), " or ".join(dict.fromkeys(messages)) + end)


def plain(settings: Settings, registry: Registry, choices: Mapping[Path, str], path: Path = ()) -> dict[str, Any]:
    """Settings as plain data that resolves to equal ones, with the names of implementations put back."""

    def node(value: Any, path: Path, kind: str | None) -> Any:
        if isinstance(value, tuple):
            return [node(item, (*path, i), kind) for i, item in enumerate(value)]
        if not isinstance(value, Settings):
            return value
        name = {"name": registry.called(kind, value)} if kind else {}
        return name | plain(value, registry, choices, path)

    cls = type(settings)
    return {
        key: node(getattr(settings, key), (*path, key), kind_of(cls, key, (*path, key), choices))
        for key in cls.model_fields
    }


def _starred(path: Path) -> Path:
    return tuple("*" if isinstance(key, int) else key for key in path)


def nested(
    cls: type[Settings], name: str, path: Path, choices: Mapping[Path, str]
) -> tuple[str | None, type[Settings] | None, bool]:
    """What a field holds, or each item of it: a choice of some kind, or a section; and whether it may be null."""
    parts = _parts(cls.model_fields[name].annotation)
    sections = (part for part in parts if isinstance(part, type) and issubclass(part, Settings))
    return kind_of(cls, name, path, choices), next(sections, None), type(None) in parts


def kind_of(cls: type[Settings], name: str, path: Path, choices: Mapping[Path, str]) -> str | None:
    """The kind of implementation that a field chooses, or each item of it; None where it chooses none."""
    typed = [_BASES[part] for part in _parts(cls.model_fields[name].annotation) if part in _BASES]
    starred = _starred(path)
    return choices.get(starred) or choices.get((*starred, "*")) or next(iter(typed), None)


def named_kind(cls: type[Settings], name: str) -> str | None:
    """The kind of implementation whose name a field holds; None where it holds none."""
    marks = cls.model_fields[name].metadata if name in cls.model_fields else ()
    return next((mark.kind for mark in marks if isinstance(mark, IsName)), None)


def is_list(cls: type[Settings], name: str, path: Path, choices: Mapping[Path, str]) -> bool:
    """Whether a field holds a list of settings."""
    tuples = (get_origin(part) is tuple for part in _parts(cls.model_fields[name].annotation))
    return (*_starred(path), "*") in choices or any(tuples)


def _parts(annotation: Any) -> list[Any]:
    """An annotation and everything inside it."""
    metadata = getattr(annotation, "__metadata__", ())
    return [annotation, *metadata, *(inner for arg in get_args(annotation) for inner in _parts(arg))]


def _cleaned(loc: tuple[str | int, ...], node: Any, missing: bool) -> Path:
    """The key path in an error's location, which also names the members of unions."""
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


@functools.cache
def shadow(cls: type[Settings], names: tuple[str, ...]) -> type[Settings]:
    """A copy of a class whose named fields take a number: the place in the context of what was built already."""
    fields: dict[str, Any] = {}
    for name in names:
        info = cls.model_fields[name]
        default = ... if info.is_required() else Field(default_factory=functools.partial(_default, info))
        fields[name] = (Annotated[(Any, PlainValidator(_ready), *info.metadata)], default)
    return create_model(cls.__name__, __base__=cls, __module__=cls.__module__, **fields)


def _default(info: FieldInfo) -> Any:
    return info.get_default(call_default_factory=True)


def _ready(index: int, info: ValidationInfo) -> Any:
    built = info.context[index]  # type: ignore[index]
    if built is _FAILED:
        raise PydanticCustomError("nested", "reported where it happened")
    return built
