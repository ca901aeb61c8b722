"""Parallel-beam tomography: line integrals of the image in several directions."""

from collections.abc import Mapping

from pydantic import field_validator

from invkit.api import Degradation, Field, Grid, Keys, LinearOperator, hookimpl
from invkit_tomography.radon import Geometry, Radon

__all__ = ["Geometry", "Radon", "Tomography"]


class Tomography(Degradation):
    """Measure a parallel-beam sinogram: line integrals, for each angle and detector bin; the shorter side has length 1.

    `y(t, s) = integral x` along the line `u cos t + v sin t = s`, averaged over the width of the bin.
    """

    angles: int = Field(24, ge=1, le=2048, description="number of directions, evenly spaced over the arc")
    arc: tuple[float, float] = Field(
        (0.0, 180.0),
        description="[first, end) of the directions in degrees; less than 180 is limited-angle tomography",
    )
    detectors: float = Field(1.0, gt=0, le=4, description="detector bins per cell of the grid along the detector")

    @field_validator("arc")
    @classmethod
    def _ordered(cls, arc: tuple[float, float]) -> tuple[float, float]:
        if not 0 < arc[1] - arc[0] <= 180:
            raise ValueError("should be an arc of more than 0 and at most 180 degrees, the first direction first")
        return arc

    @property
    def resolution_law(self) -> float:
        return 0.02

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        return Radon(len(keys), Geometry(grid, self.angles, self.arc, self.detectors))


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {"tomography": Tomography}
