"""DeepInverse's linear physics as degradations: an adapter to https://deepinv.github.io, imported on first use."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import torch
from pydantic import ValidationError, field_validator, model_validator

from invkit.api import Degradation, Field, Grid, Keys, LinearOperator, hookimpl
from invkit_deepinv.operator import Adapted, cast
from invkit_deepinv.physics import PHYSICS, Physics

CONFORMING = (
    "inpainting",
    "downsampling",
    "structured-random",
    "mri",
)  # on every grid; docs/reference/deepinv.md lists the others


class DeepInverse(Degradation):
    """Measure with a linear physics of DeepInverse; its random masks and matrices are drawn for each image.

    `y = A x` with the A of the physics.
    """

    physics: Literal[
        "inpainting", "demosaicing", "decolorize", "denoising", "downsampling", "downsampling-matlab", "blur", "blur-fft",
        "compressed-sensing", "structured-random", "single-pixel", "tomography", "mri",
    ] = Field(description="which of DeepInverse's operators")  # fmt: skip
    settings: dict[str, Any] = Field(
        {},
        description="its settings, by their names in docs/reference/deepinv.md",
        examples=[{key: value} for key, value in (("share", 0.4), ("sigma", 2.0), ("factor", 4), ("srf", "flat"))]
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
        return [cls(physics=name) for name in CONFORMING]  # type: ignore[arg-type]

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        chosen = self.chosen
        count = len(keys) if chosen.random else 1
        seeds = keys.integers("deepinv", 2**20, 3)[:count].cpu().tolist() if chosen.random else [[0, 0, 0]]
        item = torch.arange(len(keys)) if chosen.random else torch.zeros(len(keys), dtype=torch.int64)
        domain = chosen.domain(grid)
        with torch.random.fork_rng(devices=[]):  # some estimate their norm with the global generator
            physics, shape = _build(chosen, grid, seeds)
        return Adapted(grid, shape, physics, item.to(keys.device), domain != grid.picture, chosen.exact)


def _build(chosen: Physics, grid: Grid, seeds: Sequence[Sequence[int]]) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """A physics for each seed, and the shape of its measurements, determined by a trial run.

    Raises ValueError for a grid on which DeepInverse fails.
    """
    domain, fault = chosen.domain(grid), ""
    try:
        physics = tuple(chosen.build(grid, _generator(seed)) for seed in seeds)
        first = cast(physics[0], torch.device("cpu"), torch.float32)
        y = first.A(torch.zeros(1, *domain))
        if (shape := tuple(first.A_adjoint(y).shape[1:])) != domain:
            fault = f"its adjoint returns images of shape {shape}"
    except (RuntimeError, IndexError) as error:
        fault = str(error).splitlines()[0]
    if fault:
        raise ValueError(f"deepinv: {type(chosen).__name__} does not work on {grid}: {fault}")
    channels = grid.channels // domain[0]
    return physics, (channels * y.shape[1], *y.shape[2:])


def _generator(seed: Sequence[int]) -> torch.Generator:
    first, second, third = seed
    return torch.Generator().manual_seed((first << 40) + (second << 20) + third)


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {"deepinv": DeepInverse}
