"""A strict YAML reader that returns plain data and the position of each key."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]
MAX_BYTES = 1 << 20
MAX_DEPTH = 32
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {"": None, "~": None, ".nan": float("nan"), ".inf": float("inf"), "-.inf": -float("inf")}
for _word, _value in {"null": None, "true": True, "false": False}.items():
    _WORDS |= {_word: _value, _word.capitalize(): _value, _word.upper(): _value}


@dataclass(frozen=True)
class Problem:
    """A mistake in a recipe: its position, key path and message."""

    where: str
    path: Path
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, dotted(self.path), self.message) if part)


@dataclass(frozen=True)
class Tree:
    """Plain data (dict, list, str, int, float, bool, None), the position of each key, and the mistakes in the text.

    If the text cannot be parsed, `data` is None and `problems` contains the reason.
    """

    data: Any = None
    where: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path) -> str:
        """The position of a key; for a missing key that of the nearest enclosing one."""
        while path not in self.where and path:
            path = path[:-1]
        return self.where.get(path, "")


class _StopError(Exception):
    """Parsing cannot continue after this position."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.place = line, column


def dotted(path: Path) -> str:
    return ".".join(map(str, path))


def scalar(text: str) -> Any:
    """The value of a plain scalar by YAML 1.2's core schema, without octal and hexadecimal numbers.

    >>> scalar("1e-4"), scalar("yes"), scalar("010"), scalar("2020-01-01")
    (0.0001, 'yes', '010', '2020-01-01')
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def read(raw: bytes, source: str) -> Tree:
    """Read one YAML document. Positions have the form `source:line:column`."""
    return _Reader(lambda line, column: f"{source}:{line + 1}:{column + 1}").read(raw)


def read_value(text: str, where: str) -> Tree:
    """Read a value from the command line; all positions in it are `where`."""
    return _Reader(lambda line, column: where).read(text.encode("utf-8", "replace"))


class _Reader:
    """Builds the tree from the events of the YAML parser, so that no tag, alias or merge key is evaluated."""

    def __init__(self, place: Callable[[int, int], str]) -> None:
        self.place = place
        self.tree = Tree()

    def read(self, raw: bytes) -> Tree:
        try:
            text = _decode(raw)
            try:
                return Tree(self._document(yaml.parse(text, Loader=_LOADER)), self.tree.where, self.tree.problems)
            except yaml.MarkedYAMLError as error:
                mark = error.problem_mark or error.context_mark
                line, column = (mark.line, mark.column) if mark else (0, 0)
                raise _StopError(line, column, _explain(error, text, line)) from None
        except _StopError as stop:
            return Tree(None, self.tree.where, [*self.tree.problems, Problem(self.place(*stop.place), (), str(stop))])

    def _document(self, events: Iterator[Any]) -> Any:
        next(events)  # start of the stream
        if isinstance(next(events), yaml.StreamEndEvent):
            raise _StopError(0, 0, "empty; `invkit show quickstart` prints a recipe to start from")
        data = self._node(next(events), events, ())
        next(events)  # end of the document
        if not isinstance(after := next(events), yaml.StreamEndEvent):
            raise _StopError(after.start_mark.line, after.start_mark.column, "a second document; a recipe has only one")
        return data

    def _problem(self, event: Any, path: Path, message: str) -> None:
        self.tree.problems.append(Problem(self.place(event.start_mark.line, event.start_mark.column), path, message))

    def _node(self, event: Any, events: Iterator[Any], path: Path, depth: int = 0) -> Any:
        mark = event.start_mark
        self.tree.where.setdefault(path, self.place(mark.line, mark.column))
        if depth > MAX_DEPTH:
            raise _StopError(mark.line, mark.column, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._problem(event, path, f"the alias *{event.anchor} is not supported; write the value out")
        if event.anchor is not None:
            self._problem(event, path, f"the anchor &{event.anchor} is not supported; write each value out")
        if event.tag is not None:
            self._problem(event, path, "a tag (!...) is not supported; a recipe contains plain values only")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                items.append(self._node(event, events, (*path, len(items)), depth + 1))
            return items
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._key(event, events, path, depth)
            child = path if key is None else (*path, key)
            if key in mapping:
                self._problem(event, child, f"written twice; the first is at {self.tree.where[child]}")
            elif key is not None:
                self.tree.where[child] = self.place(event.start_mark.line, event.start_mark.column)
            value = self._node(next(events), events, child, depth + 1)
            if key is not None:
                mapping[key] = value
        return mapping

    def _key(self, event: Any, events: Iterator[Any], path: Path, depth: int) -> str | None:
        key = self._node(event, events, path, depth + 1)
        if isinstance(key, str) and key != "<<":
            return key
        if isinstance(key, str):
            self._problem(event, path, "the merge key << is not supported; write the settings out")
        elif not isinstance(event, yaml.AliasEvent):
            self._problem(event, path, f"a key has to be a string, got {brief(key)}")
        return None

    def _scalar(self, event: Any, path: Path) -> Any:
        if not event.implicit[0]:  # quoted
            return event.value
        try:
            return scalar(event.value)
        except ValueError:  # Python refuses integers of thousands of digits
            return self._problem(event, path, "a number with too many digits")


def brief(value: Any) -> str:
    """A value for a message, shortened to 60 characters."""
    text = "nothing" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _decode(raw: bytes) -> str:
    if len(raw) > MAX_BYTES:
        raise _StopError(0, 0, f"larger than {MAX_BYTES >> 20} MiB; a recipe is a short text")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position(raw[: error.start].decode("utf-8", "replace"))
        raise _StopError(line, column, "not UTF-8 text; a recipe is a YAML file") from None
    if bad := _UNPRINTABLE.search(text):
        line, column = _position(text[: bad.start()])
        raise _StopError(line, column, f"the character {bad.group()!r} is not text; is this a binary file?")
    return text


def _position(before: str) -> tuple[int, int]:
    return before.count("\n"), len(before) - before.rfind("\n") - 1


def _explain(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    lines = text.splitlines()
    if re.match(" *\t", lines[line] if line < len(lines) else ""):
        return "a tab in the indentation; indent with spaces"
    return f"not valid YAML: {error.problem}" + (f" ({error.context})" if error.context else "")
