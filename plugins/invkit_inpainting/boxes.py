"""Masks that hide boxes."""

from typing import Literal

import torch
from pydantic import field_validator
from torch import Tensor

from invkit.api import Degradation, Field, Grid, Keys, LinearOperator, Mask

ROUNDING = 1e-9  # of lengths: a centre on the upper left edge of a box is in it, one on the lower right edge is not


class Box(Degradation):
    """Hide a square box.

    `y = M x`: M is 0 in the box and 1 elsewhere.
    """

    side: float = Field(0.5, gt=0, lt=1, description="side of the box, relative to the shorter side")
    place: tuple[float, float] | Literal["random"] = Field(
        "random",
        description="position of the box, from [0, 0] (upper left) to [1, 1] (lower right); or random, drawn for each image",
    )

    @field_validator("place")
    @classmethod
    def _inside(cls, place: tuple[float, float] | Literal["random"]) -> tuple[float, float] | Literal["random"]:
        if place != "random" and not all(0 <= p <= 1 for p in place):
            raise ValueError("should lie in [0, 1]")
        return place

    @property
    def resolution_law(self) -> float:
        return 0.15  # a cell at the edge is hidden entirely or not at all

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        if self.place == "random":
            place = keys.uniform("place", 1, 2).double()
        else:
            place = torch.tensor(self.place, dtype=torch.float64, device=keys.device).expand(len(keys), 1, 2)
        return _without(place, torch.full_like(place, self.side), grid)


class Boxes(Degradation):
    """Hide several boxes of random height, width and position, drawn for each image; they may overlap.

    `y = M x`: M is 0 in the boxes and 1 elsewhere.
    """

    count: int = Field(4, ge=1, le=64, description="number of boxes")
    side: tuple[float, float] = Field(
        (0.1, 0.3), description="[least, greatest] height and width of a box, relative to the shorter side, in (0, 1)"
    )

    @field_validator("side")
    @classmethod
    def _shares(cls, side: tuple[float, float]) -> tuple[float, float]:
        if not 0 < side[0] <= side[1] < 1:
            raise ValueError("should lie in (0, 1), the lower bound first")
        return side

    @property
    def resolution_law(self) -> float:
        return 0.15  # a cell at the edge is hidden entirely or not at all

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        low, high = self.side
        size = low + (high - low) * keys.uniform("size", self.count, 2).double()
        return _without(keys.uniform("place", self.count, 2), size, grid)


def _without(
    place: Tensor,  # (B, K, 2) in [0, 1]: position within the range that keeps the box inside
    size: Tensor,  # (B, K, 2): height and width, relative to the shorter side
    grid: Grid,
) -> Mask:
    """The mask that hides the cells whose centres lie in one of `K` boxes, each at least one cell in size."""
    inside = []
    for axis, (n, extent) in enumerate(zip(grid.shape, grid.extent, strict=True)):
        length = size[..., axis, None].double().clamp(min=grid.cell)
        start = place[..., axis, None].double() * (extent - length)
        centre = (torch.arange(n, dtype=torch.float64, device=place.device) + 0.5) * grid.cell
        inside.append((centre >= start - ROUNDING) & (centre < start + length - ROUNDING))  # (B, K, n)
    hidden = (inside[0][..., :, None] & inside[1][..., None, :]).any(1, keepdim=True)
    return Mask(~hidden, grid.channels)
