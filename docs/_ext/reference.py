"""The generated parts of the reference, as Markdown: recipe keys, values by name, commands, degradations, functions, BibTeX."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from invkit.cli.main import cli
from invkit.core.settings import Settings
from invkit.plugins.inventory import descriptions, setting
from invkit.plugins.loader import registry
from invkit.plugins.registry import KINDS
from invkit.recipe.recipe import Recipe

PAGES = Path(__file__).parents[1] / "reference"
PUBLIC = ("invkit", "invkit.api", "invkit.testing")


def table(rows: list[tuple[str, ...]], *header: str) -> str:
    """A Markdown table; vertical bars are escaped."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def literal(value: Any) -> str:
    """A value as in a recipe."""
    if isinstance(value, Settings):
        return f"`{registry().name_of(value) or 'see its keys'}`"
    if isinstance(value, tuple) and any(isinstance(item, Settings) for item in value):
        return ", ".join(literal(item) for item in value)
    words = {None: "null", True: "true", False: "false"}
    return f"`{words.get(value, value) if isinstance(value, bool | None) else list(value) if isinstance(value, tuple) else value}`"


def row(path: str, item: dict[str, Any]) -> tuple[str, ...]:
    """A key: name, meaning with unit, type and range, default."""
    kind = item["type"].replace("None", "null").replace("NoneType", "null")
    limits = "".join(f", {limit}" for limit in item["limits"]).replace(str(2**63), "2^63")
    default = "required" if item["required"] else literal(item["default"])
    return f"`{path}`", item["description"] or "", f"`{kind}`{limits}", default


HEADER = ("key", "meaning and unit", "type and range", "default")


def sections(cls: type[Settings], path: str = "") -> Iterator[tuple[str, type[Settings]]]:
    """The settings that have a name of their own in every recipe, with the path of their keys."""
    yield path, cls
    for key, info in cls.model_fields.items():
        own = info.annotation
        if isinstance(own, type) and issubclass(own, Settings) and not hasattr(own, "kind"):
            yield from sections(own, f"{path}{key}.")


def keys(path: str, cls: type[Settings]) -> list[tuple[str, ...]]:
    """The rows of the keys of settings, without those that are sections."""
    rows = []
    for key, info in cls.model_fields.items():
        own = info.annotation
        if not (isinstance(own, type) and issubclass(own, Settings)):
            rows.append(row(path + key, setting(key, cls)))
        elif hasattr(own, "kind"):
            default = "required" if info.is_required() else literal(info.get_default(call_default_factory=True))
            kind = f"name of a [{own.kind}](#kind-{own.kind})"
            rows.append((f"`{path}{key}`", info.description or "", kind, default))
    return rows


def own_keys(path: str, cls: type[Settings]) -> list[tuple[str, ...]]:
    """As `keys`, with those of settings within, such as the noise levels of a solver."""
    rows = keys(path, cls)
    for key, info in cls.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, Settings) and not hasattr(inner, "kind"):
            chosen = info.get_default(call_default_factory=True)
            for name in inner.model_fields:
                item = setting(name, inner)
                known = {"required": False, "default": getattr(chosen, name)} if isinstance(chosen, inner) else {}
                rows.append(row(f"{path}{key}.{name}", item | known))
    return rows


def recipe() -> str:
    """Every key of every section."""
    parts = []
    for path, cls in sections(Recipe):
        title = f"`{path.rstrip('.')}`" if path else "Sections"
        parts += [f"## {title}", (cls.__doc__ or "").strip(), table(keys(path, cls), *HEADER)]
    return "\n\n".join(parts)


def implementation(kind: str, name: str, level: str = "###") -> str:
    """Heading, documentation and settings of an implementation."""
    (item,) = (item for item in descriptions(registry(), name) if item["kind"] == kind)
    rows = own_keys("", registry().get(kind, name))
    target = f"({kind}-{name})=\n{level} `{name}`"
    origin = f"*From the plugin {item['from'].split(' (')[0]}.*"
    return "\n\n".join([target, item["documentation"], *([table(rows, *HEADER)] if rows else ["No settings."]), origin])


def values() -> str:
    """Every kind but degradations, which have a page of their own, with its names."""
    parts = []
    for kind in KINDS:
        parts.append(f"(kind-{kind})=\n## {kind.capitalize()}")
        if kind == "degradation":
            parts.append("See [the degradations, one by one](gallery.md).")
            continue
        parts += [implementation(kind, name) for name in sorted(registry().names(kind))]
    return "\n\n".join(parts)


def gallery() -> str:
    """Every degradation with its picture."""
    parts = []
    for name in sorted(registry().names("degradation")):
        text = implementation("degradation", name, "##")
        if (PAGES / "pictures" / f"{name}.png").exists():
            heading, _, rest = text.partition("\n\n")
            picture = f"![A photograph, what {name} measures of it, and an image from that](pictures/{name}.png)"
            text = f"{heading}\n\n{picture}\n\n{rest}"
        parts.append(text)
    return "\n\n".join(parts)


def commands(command: click.Command = cli, path: str = "invkit") -> str:
    """Every command with its arguments and options."""
    context = click.Context(command, info_name=path)
    parts = []
    if command is not cli:
        usage = " ".join([path, *command.collect_usage_pieces(context)])
        parts += [f"## `{path}`", f"```text\n{usage}\n```", inspect.cleandoc(command.help or "")]
        options = [own for own in command.params if isinstance(own, click.Option)]
        if rows := [option(own, context) for own in options]:
            parts.append(table(rows, "option", "meaning", "default"))
    if isinstance(command, click.Group):
        parts += [commands(own, f"{path} {name}") for name, own in sorted(command.commands.items())]
    return "\n\n".join(parts)


def option(own: click.Option, context: click.Context) -> tuple[str, ...]:
    names = ", ".join(f"`{name}`" for name in (*own.opts, *own.secondary_opts))
    value = "" if own.is_flag else f" `{own.make_metavar(context)}`"
    fixed = own.default not in (None, (), False) and isinstance(own.default, str | int | float) and own.show_default
    return names + value, own.help or "", f"`{own.default}`" if fixed else ""


def public() -> dict[str, Any]:
    """Every public name of invkit with what it is, once."""
    found: dict[str, Any] = {}
    for module in PUBLIC:
        for name in sorted(import_module(module).__all__):
            own = getattr(import_module(module), name)
            if name not in ("Field", "__version__", *(known.split(".")[-1] for known in found)):
                found[f"{module}.{name}"] = own
    return found


def functions() -> str:
    """Everything public, by autodoc."""
    parts = []
    for module in PUBLIC:
        lines = []
        for name, own in public().items():
            if name.rpartition(".")[0] == module:
                directive = "autoclass" if isinstance(own, type) else "autofunction"
                if not (isinstance(own, type) or inspect.isfunction(own)):  # a marker or a constant
                    directive = "py:data"
                lines += [f".. {directive}:: {name}", ""]
        parts += [f"## `{module}`", "```{eval-rst}\n" + "\n".join(lines) + "```"]
    return "\n\n".join(parts)


def as_rst(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are Markdown: their `code` becomes ``code``, and what is left of the syntax of RST is escaped."""
    text = "\n".join(lines)
    parts = re.split(r"(`[^`]+`)", text)
    lines[:] = "".join(
        f"`{part}`"
        if part.startswith("`") and part.endswith("`") and len(part) > 1
        else re.sub(r"([*|])", r"\\\1", part)
        for part in parts
    ).split("\n")


ENTRY = re.compile(r"^- (?P<authors>.+?) \((?P<year>\d{4})\)\. (?P<rest>.+)$", re.M)


def bibtex(page: str | None = None) -> str:
    """The list of the page `references` as BibTeX."""
    text = (PAGES / "references.md").read_text("utf-8") if page is None else page
    entries: dict[str, str] = {}
    for found in ENTRY.finditer(text):
        title, _, venue = found["rest"].rstrip(".").partition(". ")
        parts = found["authors"].removesuffix(" et al.").split(", ")
        people = [", ".join(parts[n : n + 2]) for n in range(0, len(parts), 2)]
        people += ["others"] if found["authors"].endswith(" et al.") else []
        key = re.sub(r"\W", "", parts[0].lower()) + found["year"]
        while key in entries:
            key += "b"
        fields = {"author": " and ".join(people), "title": f"{{{title.strip('*')}}}", "year": found["year"]}
        fields |= {"howpublished": venue.replace("*", "")} if venue else {}
        entries[key] = "\n".join(
            [f"@misc{{{key},", *(f"  {name} = {{{value}}}," for name, value in fields.items()), "}"]
        )
    return "```bibtex\n" + "\n\n".join(entries.values()) + "\n```"
