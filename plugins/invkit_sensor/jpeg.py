"""JPEG: coefficients of blocks, in units of the steps to which a file rounds them."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from invkit.api import Degradation, Field, Grid, Keys, LinearOperator

BLOCK = 8
LUMA = torch.tensor(  # steps of quality 50: ITU-T T.81 (1992), tables K.1 and K.2
    [
        [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)  # fmt: skip
CHROMA = torch.full((BLOCK, BLOCK), 99)
CHROMA[:4, :4] = torch.tensor([[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]])
COLOURS = torch.tensor(  # luma and two colour differences of red, green and blue: Rec. 601
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=torch.float64
)


@dataclass(frozen=True, eq=False)
class Coefficients(LinearOperator):
    """`A x = 127.5 T K x / Q`: K converts colours, T is the orthonormal cosine transform of blocks, and Q are the steps."""

    batch: int
    domain: Grid
    quality: int

    @property
    def grid(self) -> Grid:
        return self.domain

    @property
    def range_shape(self) -> tuple[int, ...]:
        return self.domain.picture

    @property
    def range_weight(self) -> float:
        return self.domain.area

    def _steps(self, like: Tensor) -> Tensor:
        """Q / 127.5: (1 or 3, H, W)."""
        kinds = (False, True, True) if self.domain.channels == 3 else (False,)
        places = [torch.arange(n) % BLOCK for n in self.domain.shape]
        found = torch.stack([steps(self.quality, chroma)[places[0][:, None], places[1]] for chroma in kinds])
        return found.to(like) / 127.5

    def _colours(self, like: Tensor) -> Tensor:
        return (COLOURS if self.domain.channels == 3 else torch.eye(self.domain.channels)).to(like)

    def _transform(self, x: Tensor) -> Tensor:
        rows, columns = (_cosines(n).to(x) for n in self.domain.shape)
        return rows @ x @ columns.T

    def _inverse(self, y: Tensor) -> Tensor:
        rows, columns = (_cosines(n).to(y) for n in self.domain.shape)
        return rows.T @ y @ columns

    def forward(self, x: Tensor) -> Tensor:
        return self._transform(torch.einsum("cd,bdhw->bchw", self._colours(x), x)) / self._steps(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.einsum("cd,bchw->bdhw", self._colours(y), self._inverse(y / self._steps(y)))

    def pinv(self, y: Tensor) -> Tensor:
        """The inverse: how a file is decoded."""
        return torch.einsum(
            "cd,bdhw->bchw", torch.linalg.inv(self._colours(y.double())).to(y), self._inverse(y * self._steps(y))
        )

    def __len__(self) -> int:
        return self.batch


def steps(quality: int, chroma: bool) -> Tensor:
    """The steps (8, 8) of a quality, as those of the Independent JPEG Group's library."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return (((CHROMA if chroma else LUMA) * scale + 50) // 100).clamp(1, 255)


@lru_cache(maxsize=16)
def _cosines(n: int) -> Tensor:
    """The orthonormal DCT-II of blocks of 8 and of what remains: (n, n) float64."""
    sizes = [BLOCK] * (n // BLOCK) + ([n % BLOCK] if n % BLOCK else [])
    return torch.block_diag(*map(_block, sizes))


def _block(n: int) -> Tensor:
    k = torch.arange(n, dtype=torch.float64)
    cosines = (torch.pi / n * k[:, None] * (k + 0.5)).cos() * (2 / n) ** 0.5
    cosines[0] /= 2**0.5
    return cosines


class Jpeg(Degradation):
    """The coefficients of a JPEG file, in units of their steps.

    `y = D T x / q`: T turns colours into luma and colour differences, D is the cosine transform of blocks of 8x8, q are the steps.

    With `noise: {name: uniform, step: 1, sigma: 0.1}` they are rounded as in a file, and the likelihood is that of the interval
    that rounds to a value; sigma, in steps, smooths its ends. Colours are luma and two colour differences without subsampling
    (4:4:4). The last blocks of an image whose sides are no multiple of 8 are smaller; a file repeats its last pixels instead.
    """

    quality: int = Field(10, ge=1, le=100, description="quality, which gives the steps; 1 is the coarsest")

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        return Coefficients(len(keys), grid, self.quality)
