"""Denoising: every pixel is observed with the noise of the recipe."""

from collections.abc import Mapping

from invkit.api import Degradation, Grid, Keys, LinearOperator, Separable, hookimpl


class Denoise(Degradation):
    """Measure the image itself; `noise.sigma` is the standard deviation of its noise.

    `y = x + sigma e`, e standard normal.
    """

    @property
    def resolution_law(self) -> float:
        return 1e-5

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        return Separable(len(keys), grid)


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {"denoise": Denoise}
