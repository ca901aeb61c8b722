"""Overrides from the command line, `a.b.c=value`, applied to the tree of a recipe before validation."""

import warnings
from collections.abc import Sequence
from typing import Any

from invkit.recipe.yaml_reader import MAX_DEPTH, Path, Problem, Tree, brief, dotted, read_value

COMMAND_LINE = "command line: "
LISTS = {
    ("train", "grids"),
    ("eval", "grids"),
    ("eval", "methods"),
    ("eval", "metrics"),
    ("log", "to"),
}  # also given as `a,b` or a single item
EXCLUSIVE: dict[Path, str] = {("train", "steps"): "budget", ("train", "budget"): "steps"}


def override(tree: Tree, overrides: Sequence[str]) -> Tree:
    """Apply overrides of the form `a.b.c=value` to a tree, in order.

    Values are parsed as in a recipe file. `X.name=value` also removes the other settings of X, since they belong to
    another implementation. Of `train.steps` and `train.budget`, the one given last applies, with a warning about the other. Where a
    list is expected, `a,b` and a single item are lists too.
    """
    data: Any = tree.data
    where, problems = dict(tree.where), list(tree.problems)
    given: dict[Path, str] = {}
    for text in overrides:
        place = COMMAND_LINE + text
        left, equals, right = text.partition("=")
        path: Path = tuple(left.strip().split("."))
        if not equals or "" in path or len(path) > MAX_DEPTH:
            problems.append(Problem(place, (), "an override has the form key.path=value, no spaces around ="))
            continue
        value = read_value(right, place) if right.strip() else Tree()
        if value.problems:
            cut = sum(map(right.count, "[{")) > sum(map(right.count, "]}"))
            hint = "; put quotes around an override that contains spaces" if cut else ""
            problems += [Problem(place, path, problem.message + hint) for problem in value.problems]
            continue
        if path in LISTS and isinstance(value.data, int | str):
            value = read_value(f"[{right}]", place)
        if path == ("noise",) and isinstance(value.data, int | float):
            problems.append(Problem(place, path, f"has settings of its own: write noise.sigma={right}"))
            continue
        reset = _reset(path)
        for earlier, earlier_place in given.items():
            if len(earlier) > len(reset) and earlier[: len(reset)] == reset and earlier != path:
                message = f"has no effect: {text} comes after it and resets {dotted(reset)}"
                problems.append(Problem(earlier_place, earlier, message))
        other = EXCLUSIVE.get(path)
        section = data.get("train") if isinstance(data, dict) else None
        if other and value.data is not None and isinstance(section, dict) and section.get(other) is not None:
            warnings.warn(f"{place} replaces train.{other}={section[other]}", stacklevel=2)
            data, _ = with_value(data, ("train", other), None)
        try:
            data, path = with_value(data, path, value.data)
        except ValueError as error:
            problems.append(Problem(place, path, str(error)))
            continue
        reset = _reset(path)
        where = {p: w for p, w in where.items() if p[: len(reset)] != reset or p == ()}
        where |= {path[:n]: place for n in range(1, len(path) + 1) if path[:n] not in where or n == len(path)}
        where |= {(*path, *p): place for p in value.where}
        given[path] = place
    return Tree(data, where, problems)


def _reset(path: Path) -> Path:
    """The path of the subtree that an override replaces."""
    return path[:-1] if path[-1] == "name" and len(path) > 1 else path


def with_value(node: Any, path: Path, value: Any, above: Path = ()) -> tuple[Any, Path]:
    """A copy of `node` with `value` at `path`, and the path with list indices as integers."""
    if not path:
        return value, above
    key, *rest = path
    if isinstance(node, list):
        if not (str(key).isdigit() and int(key) < len(node)):
            raise ValueError(f"{dotted(above)} is a list of {len(node)}; count its items from 0")
        index = int(key)
        item, path = with_value(node[index], tuple(rest), value, (*above, index))
        return [*node[:index], item, *node[index + 1 :]], path
    if isinstance(node, str):
        node = {"name": node}  # an implementation given by its name only
    if not isinstance(node, dict | None):
        raise ValueError(f"{dotted(above)} is {brief(node)} and has no settings")
    if key == "name" and not rest and above:
        return {"name": value}, (*above, key)
    if node is None and str(key).isdigit():
        raise ValueError(
            f"{dotted(above)} is not written in the recipe, so it has no items to change; give the whole list"
        )
    child, path = with_value((node or {}).get(key), tuple(rest), value, (*above, key))
    return {**(node or {}), key: child}, path
