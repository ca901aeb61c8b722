"""Overrides from the command line, `a.b.c=value`, applied to the tree of a recipe before validation."""

from collections.abc import Sequence
from typing import Any

from invkit.recipe.yaml_reader import MAX_DEPTH, Path, Problem, Tree, brief, dotted, read_value

COMMAND_LINE = "command line: "


def override(tree: Tree, overrides: Sequence[str]) -> Tree:
    """Apply overrides of the form `a.b.c=value` to a tree, in order.

    Values are parsed as in a recipe file. `X.name=value` also removes the other settings of X, since they belong to
    another implementation.
    """
    data: Any = tree.data
    where, problems = dict(tree.where), list(tree.problems)
    given: dict[Path, str] = {}
    for text in overrides:
        place = COMMAND_LINE + text
        left, equals, right = text.partition("=")
        path: Path = tuple(left.strip().split("."))
        if not equals or "" in path or len(path) > MAX_DEPTH:
            problems.append(Problem(place, (), "an override has the form key.path=value"))
            continue
        value = read_value(right, place) if right.strip() else Tree()
        if value.problems:
            problems += [Problem(place, path, problem.message) for problem in value.problems]
            continue
        reset = _reset(path)
        for earlier, earlier_place in given.items():
            if len(earlier) > len(reset) and earlier[: len(reset)] == reset and earlier != path:
                message = f"has no effect: {text} comes after it and resets {dotted(reset)}"
                problems.append(Problem(earlier_place, earlier, message))
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
    child, path = with_value((node or {}).get(key), tuple(rest), value, (*above, key))
    return {**(node or {}), key: child}, path
