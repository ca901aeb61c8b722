"""Compressed sensing: each measured value is a sum of all pixels with random signs."""

from collections.abc import Mapping

from invkit.api import Degradation, Field, Grid, Keys, LinearOperator, hookimpl
from invkit_compressed.hadamard import Hadamard
from invkit_compressed.signs import Signs

__all__ = ["CompressedHadamard", "CompressedSigns", "Hadamard", "Signs"]

LARGEST = 1 << 23  # signs of one image


class Compressed(Degradation):
    """`ratio` times as many values as pixels. Rows have norm one, are drawn for each image, and serve all channels."""

    ratio: float = Field(0.1, gt=0, le=1, description="measured values for each pixel; their number is rounded")

    def count(self, grid: Grid) -> int:
        return max(1, round(self.ratio * grid.pixels))


class CompressedSigns(Compressed):
    """`y_i = sum_k s_ik x_k / sqrt(n)` with independent random signs s_ik, n pixels and `ratio n` values."""

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        count = self.count(grid)
        if count * grid.pixels > LARGEST:
            raise ValueError(
                f"compressed-signs: a matrix of {count} x {grid.pixels} is too large; use compressed-hadamard, or a smaller ratio"
            )
        bits = keys.uniform("signs", count, grid.pixels) < 0.5
        return Signs(grid, bits)


class CompressedHadamard(Compressed):
    """`y = sqrt(N / n) P H D x`: random signs D, the orthonormal Walsh-Hadamard transform H, and some of its values, P.

    H acts on N values, the smallest power of two of at least n pixels; the others are zero.
    """

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        size = 1 << (grid.pixels - 1).bit_length()
        rows = keys.permutation("rows", size)[:, : self.count(grid)]
        return Hadamard(grid, rows, keys.uniform("flips", grid.pixels) < 0.5)


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {"compressed-signs": CompressedSigns, "compressed-hadamard": CompressedHadamard}
