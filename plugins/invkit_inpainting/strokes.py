"""Masks that hide freehand strokes."""

from invkit.api import Degradation, Field, Grid, Keys, LinearOperator, Mask, strokes


class Strokes(Degradation):
    """Hide freehand strokes: thick polylines with random start and random turns, drawn for each image.

    `y = M x`: M is 0 on the strokes and 1 elsewhere.
    """

    count: int = Field(4, ge=1, le=64, description="number of strokes")
    length: float = Field(1.0, gt=0, le=10, description="length of a stroke, relative to the shorter side")
    width: float = Field(0.08, gt=0, le=0.5, description="width of a stroke, relative to the shorter side")
    bend: float = Field(0.7, ge=0, le=10, description="how sharply strokes turn; 0 for straight lines")

    @property
    def resolution_law(self) -> float:
        return 0.2  # a cell at the edge is hidden entirely or not at all

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        hidden = strokes(keys, grid, self.count, self.length, self.width, self.bend)
        return Mask(~hidden[:, None], grid.channels)
