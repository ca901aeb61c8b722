"""Base classes and markers of recipe settings."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen, strict settings; their typed fields define the schema of the recipe.

    Validate values from YAML in JSON mode (`model_validate_json`), in which a list may become a tuple but `"3"` does not
    become `3`.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class IsPath:
    """Marks a string as a path: relative to the recipe, or to the working directory if given on the command line."""


@dataclass(frozen=True)
class IsName:
    """Marks a string as the name of an implementation of `kind` whose settings are elsewhere in the recipe."""

    kind: str


PathSetting = Annotated[str, IsPath()]
