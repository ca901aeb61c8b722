"""Denoising: every pixel is seen, through the noise of the recipe alone."""

from collections.abc import Mapping

from invkit.api import Degradation, Grid, Keys, LinearOperator, Separable, hookimpl


class Denoise(Degradation):
    """Measure the picture itself; `noise.sigma` says how much noise is on it."""

    @property
    def resolution_law(self) -> float:
        return 1e-5

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        return Separable(len(keys), grid)


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {"denoise": Denoise}
