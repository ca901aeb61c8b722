"""Colour degradations: grey images, and the Bayer mosaic of a camera sensor."""

from collections.abc import Mapping
from typing import Literal, Self

import torch
from pydantic import model_validator

from invkit.api import Degradation, Field, Grid, Keys, LinearOperator, Mask, Separable, hookimpl


def _needs_colour(grid: Grid) -> None:
    if grid.channels != 3:
        raise ValueError(f"images of {grid.channels} channels have no red, green and blue; use colour images")


class Grey(Degradation):
    """Measure a weighted sum of red, green and blue in each pixel.

    `y = w_1 x_red + w_2 x_green + w_3 x_blue` with the `weights` w.
    """

    weights: tuple[float, float, float] = Field(
        (0.299, 0.587, 0.114), description="weights of red, green and blue, not all zero (default: luma of Rec. 601)"
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not any(self.weights):
            raise ValueError("at least one weight should not be zero")
        return self

    @property
    def resolution_law(self) -> float:
        return 1e-5

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        _needs_colour(grid)
        color = torch.tensor([[self.weights]], dtype=torch.float64, device=keys.device)
        return Separable(len(keys), grid, color=color)


class Bayer(Degradation):
    """Observe one colour in each pixel, in a periodic 2x2 pattern (Bayer 1976).

    `y_c(p) = x_c(p)` where the pattern has the colour c; the other two values of a pixel are hidden.
    """

    pattern: Literal["RGGB", "BGGR", "GRBG", "GBRG"] = Field(
        "RGGB", description="colours of the upper left 2x2 pixels in reading order"
    )

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        _needs_colour(grid)
        device = keys.device
        tile = torch.tensor(["RGB".index(letter) for letter in self.pattern], device=device).view(2, 2)
        rows, columns = (torch.arange(n, device=device) % 2 for n in grid.shape)
        colour = tile[rows[:, None], columns]  # (H, W)
        observed = colour == torch.arange(3, device=device).view(3, 1, 1)
        return Mask(observed.expand(len(keys), -1, -1, -1), grid.channels)


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {"color-grey": Grey, "color-bayer": Bayer}
