"""Base classes and markers of recipe settings."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class Settings(BaseModel):
    """Frozen, strict settings; their typed fields define the schema of the recipe.

    Validate values from YAML in JSON mode (`model_validate_json`), in which a list may become a tuple but `"3"` does not
    become `3`.

    A base class that defines `kind` is chosen by name in recipes: a field of this type accepts any registered class.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
    kind: ClassVar[str]
    cites: ClassVar[str] = ""  # the publication to cite, in one line; reports and cards of models list it

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        if not cls.__pydantic_complete__:  # the schema of the class itself
            return handler(source)
        return core_schema.with_info_before_validator_function(
            cls._read, core_schema.any_schema(), metadata={"settings": cls}
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(cls.__pydantic_core_schema__)

    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> "Settings":
        """Validate a field of this class: an instance, or data that the context (`invkit.recipe.resolve`) converts to one."""
        if not isinstance(value, cls) and info.context is not None:
            value = info.context.read(cls, value)
        if not isinstance(value, cls):
            raise PydanticCustomError("settings", f"should be an instance of {cls.__name__}")
        return value


def retired(**defaults: Any) -> Any:
    """A validator for settings of earlier versions: ignored at their default value, refused at any other."""

    def drop(data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for key, default in defaults.items():
            if data.get(key, default) != default:
                raise ValueError(f"{key!r} is a setting of earlier versions, got {data[key]!r}; leave it out")
        return {key: value for key, value in data.items() if key not in defaults}

    return model_validator(mode="before")(drop)


@dataclass(frozen=True)
class IsName:
    """Marks a string as the name of an implementation of `kind` whose settings are elsewhere in the recipe."""

    kind: str

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        def known(name: str, info: ValidationInfo) -> str:
            if info.context is not None:
                info.context.get(self.kind, name)
            return name

        return core_schema.with_info_after_validator_function(known, handler(source), metadata={"kind": self.kind})


RELATIVE_PATH = "relative_path"


def absolute(path: str, info: ValidationInfo) -> str:
    """The path itself. Within a recipe, an error that has a relative one replaced and read again."""
    if info.context is not None and path and path != os.path.abspath(path):
        raise PydanticCustomError(RELATIVE_PATH, "should be an absolute path")
    return path


# A path: relative to the recipe, or to the working directory if given on the command line.
PathSetting = Annotated[str, AfterValidator(absolute)]

PRETRAINED = "pretrained:"  # begins the name of a model that ships with invkit


def _shipped_or_path(value: str, path: ValidatorFunctionWrapHandler) -> str:
    return value if value.startswith(PRETRAINED) else path(value)


# A trained model: a run folder, a file of `invkit export`, or `pretrained:NAME`.
ModelSetting = Annotated[PathSetting, WrapValidator(_shipped_or_path)]


def named_paths(settings: BaseModel, key: str = "") -> dict[str, str]:
    """The paths that settings contain, at any depth, by key path such as `degradation.of.0.file`."""
    found: dict[str, str] = {}

    def visit(value: Any, at: str, is_path: bool) -> None:
        if isinstance(value, BaseModel):
            found.update(named_paths(value, f"{at}."))
        elif isinstance(value, tuple | list):
            for i, item in enumerate(value):
                visit(item, f"{at}.{i}", is_path)
        elif is_path and value:
            found[at] = value

    for name, info in type(settings).model_fields.items():
        visit(getattr(settings, name), key + name, _contains_path(info.annotation, info.metadata))
    return found


def _contains_path(annotation: Any, metadata: Iterable[Any] = ()) -> bool:
    own = (*metadata, *getattr(annotation, "__metadata__", ()))
    return any(getattr(item, "func", None) is absolute for item in own) or any(
        map(_contains_path, get_args(annotation))
    )
