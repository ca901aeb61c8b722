"""Settings to check, derived from the examples, types and bounds of the fields of a degradation."""

import itertools
import types
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import torch
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from invkit.core.errors import PluginError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.core.settings import Settings
from invkit.physics.degradation import Degradation
from invkit.physics.operators.base import LinearOperator
from invkit.physics.operators.mask import Mask

_TRIES = 24  # values of one field, and combinations of required ones
_SUBJECTS = 12
S = TypeVar("S", bound=Settings)


class Lines(Degradation):
    """A mask of every n-th line; the value for settings that are themselves degradations."""

    every: int = 2

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        observed = torch.arange(grid.height, device=keys.device) % self.every == 0
        return Mask(observed[:, None].expand(len(keys), 1, *grid.shape), grid.channels)


def bases(cls: type[S]) -> list[S]:
    """Valid settings to start from. Raises PluginError if none can be found."""
    if issubclass(cls, Degradation) and (examples := cls.conformance_examples()):
        return list(examples)
    required = [name for name, info in cls.model_fields.items() if info.is_required()]
    choices = [list(itertools.islice(values(cls.model_fields[name]), _TRIES)) for name in required]
    starts = [dict(zip(required, chosen, strict=True)) for chosen in itertools.islice(itertools.product(*choices), 200)]
    for start in starts:
        if made := build(cls, start):
            return [made]
    optional = [name for name in cls.model_fields if name not in required]
    found = []  # some optional field has to be set: one start for each field with which validation succeeds
    for name in optional:
        tried = (build(cls, {**start, name: value}) for start in starts for value in values(cls.model_fields[name]))
        found += [next((made for made in tried if made), None)]
    if not any(found):
        hint = ", or conformance_examples() to the class" if issubclass(cls, Degradation) else ""
        raise PluginError(
            f"no valid settings of {cls.__name__} found; add Field(examples=[...]) to its fields{hint}, or give "
            "settings to `invkit plugins check NAME KEY=VALUE ...`"
        )
    return [made for made in found if made]


def subjects(starts: Sequence[S]) -> list[S]:
    """The settings to check: the starts, and copies with each example or alternative of the fields in which the starts agree."""
    cls, found = type(starts[0]), list(starts)
    for name, info in cls.model_fields.items():
        if any(getattr(start, name) != getattr(starts[0], name) for start in starts):
            continue
        for value in (*(info.examples or ()), *_alternatives(info.annotation)):
            made = next((m for start in starts if (m := vary(start, name, value))), None)
            if made and made not in found:
                found.append(made)
    return found[:_SUBJECTS]


def variations(starts: Sequence[S], name: str) -> Iterator[tuple[S, S]]:
    """Pairs of settings that differ only in one field: pairs of starts, then starts and modified copies."""
    for start, other in itertools.combinations(starts, 2):
        if [key for key, value in start if value != getattr(other, key)] == [name]:
            yield start, other
    for start in starts:
        for value in itertools.islice(values(type(start).model_fields[name]), _TRIES):
            if value != getattr(start, name) and (made := vary(start, name, value)):
                yield start, made


def vary(start: S, name: str, value: Any) -> S | None:
    """A copy of settings with another value in one field; None if that is not valid."""
    return build(type(start), {key: getattr(start, key) for key in start.model_fields_set} | {name: value})


def build(cls: type[S], settings: dict[str, Any]) -> S | None:
    """An instance of a class; None if the settings are not valid."""
    try:
        return cls(**settings)
    except ValidationError:
        return None


def values(info: FieldInfo) -> Iterator[Any]:
    """Candidate values of a field, its examples first; some may be invalid."""
    yield from info.examples or ()
    yield from _candidates(info.annotation, info.metadata)


def _candidates(annotation: Any, metadata: Sequence[Any]) -> Iterator[Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        yield from _candidates(arguments[0], [*metadata, *annotation.__metadata__])
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from _candidates(argument, metadata)
    elif origin is tuple and arguments[-1:] == (Ellipsis,):
        some = list(itertools.islice(_candidates(arguments[0], ()), 3)) or [None]
        yield from ((some[0], some[-1]), (some[-1], some[0]), (some[0],), tuple(some))
    elif origin is tuple:
        yield from itertools.product(*(list(itertools.islice(_candidates(argument, ()), 3)) for argument in arguments))
    elif annotation is Degradation:
        yield from (Lines(), Lines(every=3))
    elif isinstance(annotation, type) and issubclass(annotation, Settings):
        starts = bases(annotation)
        yield from starts
        yield from (made for name in annotation.model_fields for _, made in variations(starts, name))
    elif annotation is int or annotation is float:
        yield from _numbers(annotation, metadata)
    else:
        yield from _alternatives(annotation)


def _alternatives(annotation: Any) -> Iterator[Any]:
    """All values of a type that has only a few: literals, booleans, None, enumerations."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) in (Union, types.UnionType):
        for argument in get_args(annotation):
            yield from _alternatives(argument)
    elif annotation is bool:
        yield from (True, False)
    elif annotation is types.NoneType:
        yield None
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        yield from annotation


def _numbers(kind: type[int] | type[float], metadata: Sequence[Any]) -> Iterator[Any]:
    """Numbers within the bounds; those of moderate size come first."""
    limits = {key: getattr(item, key) for item in metadata for key in ("gt", "ge", "lt", "le") if hasattr(item, key)}
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    if kind is int:
        first = 1 if low is None else low
        yield from (n for n in (*range(first, first + 9), 0, -1) if high is None or n <= high)
    elif low is not None and high is not None:
        yield from (low + (high - low) * share for share in (0.25, 0.5, 0.1, 0.75, 0.01, 0.0, 1.0))
    else:
        steps = (0.3, 1.0, 0.05, 3.0, 10.0, 0.0)
        yield from (high - step if high is not None else (low or 0.0) + step for step in steps)
