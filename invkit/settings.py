"""The base of everything a recipe can set."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen, strict settings whose typed fields are the recipe's schema.

    Validate values that come from YAML in JSON mode (`model_validate_json`), where a list may become a tuple
    but `"3"` never becomes `3`.

    A base with a `kind` of its own is one that recipes choose by name: a field typed with it takes any registered class.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
    kind: ClassVar[str]


class IsPath:
    """Marks a string that is a path: relative to the recipe, or to the working directory on the command line."""


@dataclass(frozen=True)
class IsName:
    """Marks a string that names an implementation of a kind whose settings stand elsewhere."""

    kind: str


PathSetting = Annotated[str, IsPath()]
