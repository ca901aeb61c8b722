"""The JSON schema of recipes for editors; it covers types and limits, not relations between settings."""

import json
from typing import Any

from pydantic.json_schema import CoreRef, GenerateJsonSchema, JsonRef, JsonSchemaValue
from pydantic_core import core_schema

from invkit.core.settings import Settings
from invkit.evaluation.metrics.base import BlockMetric
from invkit.plugins.registry import Registry
from invkit.recipe.recipe import Recipe
from invkit.recipe.resolve import plain


def recipe_schema(registry: Registry) -> JsonSchemaValue:
    """The schema (draft 2020-12) of recipes with all implementations in a registry."""
    schema = _portable(_Generator(registry).generate(Recipe.__pydantic_core_schema__))
    return {"$schema": GenerateJsonSchema.schema_dialect, "title": "invkit recipe", **schema}


def _portable(node: Any) -> Any:
    """A schema without examples that are paths: these are of the machine that made it."""
    if isinstance(node, list):
        return [_portable(item) for item in node]
    if not isinstance(node, dict):
        return node
    local = any(isinstance(one, str) and one.startswith("/") for one in node.get("examples", ()))
    return {key: _portable(value) for key, value in node.items() if not (local and key == "examples")}


def schema_text(registry: Registry) -> str:
    """The schema as text for a file."""
    return json.dumps(recipe_schema(registry), indent=1, ensure_ascii=False) + "\n"


class _Generator(GenerateJsonSchema):
    """Pydantic's schema with the implementations of each kind; without titles, which would only repeat the keys."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self.registry = registry

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        metadata = schema.get("metadata", {})
        if cls := metadata.get("settings"):  # see `invkit.core.settings`
            return self._choice(cls) if "kind" in vars(cls) else super().generate_inner(cls.__pydantic_core_schema__)
        inner = super().generate_inner(schema)
        return inner | {"enum": sorted(self.registry.names(metadata["kind"]))} if "kind" in metadata else inner

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        return {key: value for key, value in super().model_schema(schema).items() if key != "title"}

    def _choice(self, base: type[Settings]) -> JsonSchemaValue:
        """The name of an implementation, or its settings including `name`."""
        key, reference = self.get_cache_defs_ref_schema(CoreRef(base.kind))
        if key not in self.definitions:
            self.definitions[key] = {}  # an implementation may contain others of its kind
            schemas = {name: self._own(cls) for name, cls in sorted(self.registry.names(base.kind).items())}
            bare = [
                {"const": name, "description": own.get("description", "")}
                for name, own in schemas.items()
                if "required" not in own
            ]
            named = [
                own
                | {"properties": {"name": {"const": name}, **own["properties"]}}
                | {"required": ["name", *own.get("required", [])]}
                for name, own in schemas.items()
            ]
            parts = [
                {"pattern": f"^{name}@([1-9][0-9]*|all)$", "description": "the same of means over blocks"}
                for name, cls in sorted(self.registry.names(base.kind).items())
                if issubclass(cls, BlockMetric)
            ]
            if hasattr(base, "texts"):
                parts.append(
                    {"description": base.texts, "pattern": f"^(?!({'|'.join(one['const'] for one in bare)})$)"}
                )
            self.definitions[key] = {"oneOf": [*([{"type": "string", "oneOf": bare + parts}] if bare else []), *named]}
        return reference

    def _own(self, cls: type[Settings]) -> JsonSchemaValue:
        """The schema of a class, without `name`."""
        reference = self.generate_inner(cls.__pydantic_core_schema__)["$ref"]
        return self.definitions[self.json_to_defs_refs[JsonRef(reference)]]

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """The schema of a field; settings without `name` are those of its default implementation."""
        factory: Any = schema.get("default_factory")
        default = factory() if factory else schema.get("default")
        if not isinstance(default, Settings):
            return super().default_schema(schema)
        inner = self.generate_inner(schema["schema"])
        if self.registry.name_of(default) is None:
            return inner
        own = {key: value for key, value in self._own(type(default)).items() if key != "required"}
        return {"oneOf": [inner, own], "default": self.encode_default(default)}

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, tuple):
            return [self.encode_default(item) for item in dft]
        if isinstance(dft, Settings):
            return {"name": self.registry.name_of(dft), **plain(dft, self.registry)}
        return super().encode_default(dft)
