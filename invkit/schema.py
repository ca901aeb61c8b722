"""The JSON schema of recipes, for editors: what `resolve` accepts, as far as types and limits can say it."""

import inspect
import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from invkit.plugins import Registry
from invkit.recipe import Recipe
from invkit.resolve import is_list, kind_of, named_kind, nested, plain, shadow
from invkit.settings import Settings
from invkit.yamltree import Path

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema(registry: Registry) -> JsonSchemaValue:
    """The schema (draft 2020-12) of recipes over everything that a registry knows."""
    writer = _Writer(registry)
    root = writer.settings(Recipe, ())
    definitions = dict(sorted(writer.definitions.items()))
    return {"$schema": DIALECT, "title": "invkit recipe", **root, "$defs": definitions}


def schema_text(registry: Registry) -> str:
    """The schema as the text of a file."""
    return json.dumps(recipe_schema(registry), indent=1, ensure_ascii=False) + "\n"


class _Generator(GenerateJsonSchema):
    """Pydantic's schema without the titles that only repeat the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class _Writer:
    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.definitions: dict[str, JsonSchemaValue] = {}

    def settings(self, cls: type[Settings], path: Path) -> JsonSchemaValue:
        """Settings of a class at a key path."""
        inner = {name: made for name in cls.model_fields if (made := self._nested(cls, name, (*path, name)))}
        prefix = f"{'.'.join(map(str, path)) or 'recipe'}/"
        schema = shadow(cls, tuple(inner)).model_json_schema(
            schema_generator=_Generator, ref_template=f"#/$defs/{prefix.replace('/', '~1')}{{model}}"
        )
        self.definitions |= {prefix + name: made for name, made in schema.pop("$defs", {}).items()}
        for name, made in inner.items():
            info = cls.model_fields[name]
            default = None if info.is_required() else info.get_default(call_default_factory=True)
            schema["properties"][name] = made | ({"description": info.description} if info.description else {})
            if default is not None and not isinstance(default, Settings):
                kind = kind_of(cls, name)
                schema["properties"][name]["default"] = [self._written(item, kind) for item in default]
        for name in cls.model_fields:
            if kind := named_kind(cls, name):
                schema["properties"][name]["enum"] = sorted(self.registry.names(kind))
        schema.pop("title", None)
        return schema | {"description": inspect.cleandoc(cls.__doc__ or "")}

    def _written(self, settings: Settings, kind: str | None) -> Any:
        own = plain(settings, self.registry)
        return {"name": self.registry.called(kind, settings), **own} if kind else own

    def _nested(self, cls: type[Settings], name: str, path: Path) -> JsonSchemaValue | None:
        """A field that holds settings of its own; None for a plain value."""
        kind, section, optional = nested(cls, name)
        info = cls.model_fields[name]
        if kind:
            default = None if info.is_required() else info.get_default(call_default_factory=True)
            schema = self.choice(kind, default)
        elif section:
            schema = self.settings(section, path)
        else:
            return None
        if is_list(cls, name):
            schema = {"type": "array", "items": schema}
            for item in info.metadata:
                schema |= {"minItems": n} if (n := getattr(item, "min_length", None)) is not None else {}
                schema |= {"maxItems": n} if (n := getattr(item, "max_length", None)) is not None else {}
        return {"anyOf": [schema, {"type": "null"}]} if optional else schema

    def choice(self, kind: str, default: object = None) -> JsonSchemaValue:
        """A node that names an implementation: its name alone, or `{name: ..., setting: ...}`.

        Where it has a default, settings without a name are that one's.
        """
        if kind not in self.definitions:
            self.definitions[kind] = {}  # an implementation may hold others of its kind
            names = self.registry.names(kind)
            made = {name: self._implementation(kind, name, names[name]) for name in sorted(names)}
            bare = [
                {"const": name, "description": one["description"]}
                for name, one in made.items()
                if one["required"] == ["name"]
            ]
            self.definitions |= {f"{kind}/{name}": one for name, one in made.items()}
            parts: list[JsonSchemaValue] = [{"$ref": f"#/$defs/{kind}~1{name}"} for name in made]
            self.definitions[kind] = {"oneOf": [*([{"type": "string", "oneOf": bare}] if bare else []), *parts]}
        reference: JsonSchemaValue = {"$ref": f"#/$defs/{kind}"}
        if not isinstance(default, Settings):
            return reference
        own = {key: made for key, made in self.settings(type(default), ("$", kind)).items() if key != "required"}
        return {"oneOf": [reference, own], "default": self._written(default, kind)}

    def _implementation(self, kind: str, name: str, cls: type[Settings]) -> JsonSchemaValue:
        schema = self.settings(cls, ("$", kind, name))
        schema["properties"] = {"name": {"const": name}, **schema.get("properties", {})}
        schema["required"] = ["name", *schema.get("required", [])]
        return schema
