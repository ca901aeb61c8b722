"""Magnetic resonance imaging: lines of k-space, of one coil or several; and a phantom of complex images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from invkit.api import Dataset, Degradation, Field, Grid, Keys, LinearOperator, PathSetting, hookimpl
from invkit_mri.cartesian import Cartesian
from invkit_mri.coils import read_maps, simulated_maps
from invkit_mri.lines import chosen_lines
from invkit_mri.phantoms import Phantoms

__all__ = ["MRI", "Cartesian", "Phantoms"]


class MRI(Degradation):
    """Cartesian MRI: some lines of the Fourier transform of the image, as seen by each coil.

    `y_c = P F S_c x`: S_c multiplies by the sensitivity map of coil c, F is the centred orthonormal Fourier transform, and P keeps
    complete lines, rows of k-space (Pruessmann et al. 1999; Lustig et al. 2007). Images of two channels are complex, real and
    imaginary part; all other channels are real images, each measured on its own. `noise.sigma` is the standard deviation of both
    parts of a value.
    """

    acceleration: float = Field(
        4.0, ge=1, le=64, description="lines of k-space for each measured one; their number is rounded"
    )
    pattern: Literal["variable", "random", "equispaced"] = Field(
        "variable",
        description="lines outside the calibration region: drawn for each image, denser at low frequencies (variable) or "
        "uniformly (random); or evenly spaced, the same for all images (equispaced)",
    )
    calibration: float = Field(
        0.08, ge=0, le=1, description="share of the lines, the lowest frequencies, that are always measured"
    )
    density: float = Field(
        2.0,
        ge=0,
        le=8,
        description="variable: a line of frequency f is drawn in proportion to (1 - |f| / f_max)^density",
    )
    coils: int = Field(1, ge=1, le=64, description="coils around the image, simulated; 1: uniform sensitivity")
    maps: PathSetting | None = Field(
        None,
        description="sensitivity maps in place of simulated ones: an npy file of complex numbers (coils, height, width), brought "
        "to the grid and divided by their root sum of squares",
        examples=[str(Path(__file__).parent / "examples" / "coils.npy")],
    )

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        lines = chosen_lines(keys, grid.height, self.acceleration, self.pattern, self.calibration, self.density)
        maps = simulated_maps(self.coils, grid) if self.maps is None else read_maps(Path(self.maps), grid)
        return Cartesian(len(keys), grid, lines, maps[None].to(keys.device))


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {"mri": MRI}


@hookimpl
def invkit_datasets() -> Mapping[str, type[Dataset]]:
    return {"phantoms": Phantoms}
