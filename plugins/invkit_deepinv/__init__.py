"""DeepInverse's linear physics as degradations: an adapter to https://deepinv.github.io, loaded when it is used."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

import torch
from pydantic import ValidationError, field_validator, model_validator

from invkit.api import Degradation, Field, Grid, Keys, LinearOperator, hookimpl
from invkit_deepinv.operator import Adapted, cast
from invkit_deepinv.physics import PHYSICS, Physics

Name = Literal[tuple(PHYSICS)]


class DeepInverse(Degradation):
    """Measure by one of DeepInverse's linear physics; its random masks and matrices are drawn anew for every picture."""

    physics: Name = Field(description="which of DeepInverse's operators")  # type: ignore[valid-type]
    settings: dict[str, Any] = Field(
        {},
        description="its settings, by their names in docs/deepinv.md",
        examples=[{key: value} for key, value in (("share", 0.5), ("sigma", 2.0), ("factor", 3), ("srf", "flat"))]
        + [{"angles": 8}, {"acceleration": 2}],
    )

    @field_validator("settings")
    @classmethod
    def _copied(cls, settings: dict[str, Any]) -> dict[str, Any]:
        return json.loads(json.dumps(settings))

    @model_validator(mode="after")
    def _known(self) -> Self:
        try:
            self.chosen  # noqa: B018
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            known = ", ".join(PHYSICS[self.physics].model_fields) or "none"
            place = ".".join(map(str, first["loc"]))
            raise ValueError(f"settings of {self.physics}: {place}: {first['msg']} (known: {known})") from None
        return self

    @property
    def chosen(self) -> Physics:
        """The physics with its settings."""
        return PHYSICS[self.physics].model_validate_json(json.dumps(self.settings))

    @classmethod
    def conformance_examples(cls) -> Sequence[Self]:
        return [cls(physics=name) for name in PHYSICS]

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        chosen = self.chosen
        count = len(keys) if chosen.random else 1
        seeds = keys.integers("deepinv", 2**20, 3)[:count].cpu().tolist() if chosen.random else [[0, 0, 0]]
        item = torch.arange(len(keys)) if chosen.random else torch.zeros(len(keys), dtype=torch.int64)
        domain = chosen.domain(grid)
        with torch.random.fork_rng(devices=[]):  # some look for their norm with global randomness
            made = tuple(_tried(chosen, grid, lambda seed=seed: chosen.build(grid, _generator(seed))) for seed in seeds)
            first = cast(made[0], torch.device("cpu"), torch.float32)
            y = _tried(chosen, grid, lambda: first.A(torch.zeros(1, *domain)))
            _tried(chosen, grid, lambda: first.A_adjoint(y))
        folded = domain != grid.picture  # a channel at a time
        shape = (grid.channels, *y.shape[1:]) if folded else tuple(y.shape[1:])
        return Adapted(grid, shape, made, item.to(keys.state.device), folded, chosen.exact)


def _tried(chosen: Physics, grid: Grid, act: Callable[[], Any]) -> Any:
    """What `act` makes; whatever DeepInverse trips over is a grid that it does not serve, as a ValueError."""
    try:
        return act()
    except (RuntimeError, IndexError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"deepinv: {type(chosen).__name__} does not work on {grid}: {first}") from None


def _generator(seed: Sequence[int]) -> torch.Generator:
    first, second, third = seed
    return torch.Generator().manual_seed((first << 40) + (second << 20) + third)


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {"deepinv": DeepInverse}
