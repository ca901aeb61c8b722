"""The base of everything a recipe can set."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, model_validator


class Settings(BaseModel):
    """Frozen, strict settings whose typed fields are the recipe's schema.

    Validate values that come from YAML in JSON mode (`model_validate_json`), where a list may become a tuple
    but `"3"` never becomes `3`.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class IsPath:
    """Marks a string that is a path: relative to the recipe, or to the working directory on the command line."""


@dataclass(frozen=True)
class IsName:
    """Marks a string that names an implementation of a kind whose settings stand elsewhere."""

    kind: str


PathSetting = Annotated[str, IsPath()]


def retired(**defaults: Any) -> Any:
    """A validator for settings of earlier versions: dropped at their default value, refused at any other."""

    def drop(data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for key, default in defaults.items():
            if data.get(key, default) != default:
                raise ValueError(f"{key!r} is a setting of earlier versions, got {data[key]!r}; leave it out")
        return {key: value for key, value in data.items() if key not in defaults}

    return model_validator(mode="before")(drop)
