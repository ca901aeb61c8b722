"""The base of everything a recipe can set."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict


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
