"""Where each setting of a resolved recipe comes from: the recipe, the command line, or a default."""

from typing import Any

import yaml

from invkit.recipe.overrides import COMMAND_LINE
from invkit.recipe.yaml_reader import Path, Tree

COLUMN = 44  # of the comments, where the line is shorter


def with_origins(text: str, tree: Tree) -> str:
    """The YAML `text` of a recipe resolved from `tree`, with a comment after each value; it loads as before."""
    lines = text.splitlines()

    def visit(node: Any, path: Path) -> None:
        if isinstance(node, yaml.MappingNode) and node.value:
            for key, value in node.value:
                visit(value, (*path, key.value))
        elif isinstance(node, yaml.SequenceNode) and node.value:
            for i, item in enumerate(node.value):
                visit(item, (*path, i))
        elif (line := node.start_mark.line) == node.end_mark.line:  # a comment would end a text of several lines
            lines[line] = f"{lines[line]:<{COLUMN}}  # {_origin(tree, path)}"

    visit(yaml.compose(text, Loader=yaml.SafeLoader), ())
    return "\n".join(lines) + "\n"


def _origin(tree: Tree, path: Path) -> str:
    place = tree.where.get(path)
    if place is None and path[-1] == "name" and not isinstance(_value(tree.data, path[:-1]), dict):
        place = tree.where.get(path[:-1])  # an implementation given by its name only
    if place is None:
        return "default"
    return "command line" if place.startswith(COMMAND_LINE) else "recipe"


def _value(data: Any, path: Path) -> Any:
    for key in path:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return None
    return data
