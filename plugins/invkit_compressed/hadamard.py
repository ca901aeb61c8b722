"""Some values of the Walsh-Hadamard transform of an image whose signs are flipped at random."""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from invkit_compressed.base import Rows, decompose


def walsh_hadamard(x: Tensor) -> Tensor:
    """The orthonormal Walsh-Hadamard transform along the last axis, of a length 2^k, in natural order and k 2^k additions.

    Value i is `2^(-k/2) sum_j (-1)^(bits that i and j share) x_j`; the transform is its own inverse.

    >>> walsh_hadamard(torch.tensor([1.0, 0.0, 1.0, 0.0]))
    tensor([1., 1., 0., 0.])
    """
    size, step = x.shape[-1], 1
    while step < size:
        a, b = x.unflatten(-1, (-1, 2, step)).unbind(-2)
        x = torch.stack([a + b, a - b], -2).flatten(-3)
        step *= 2
    return x / size**0.5


@dataclass(frozen=True, eq=False)
class Hadamard(Rows):
    """`A = sqrt(N / n) P H D`, see `CompressedHadamard`."""

    rows: Tensor  # (B, m) int64, below N
    negative: Tensor  # (B, n) boolean

    @property
    def count(self) -> int:
        return self.rows.shape[1]

    @property
    def size(self) -> int:
        """N."""
        return 1 << (self.domain.pixels - 1).bit_length()

    @property
    def orthogonal(self) -> bool:
        return self.size == self.domain.pixels

    def _signs(self, like: Tensor) -> Tensor:
        scale = (self.size / self.domain.pixels) ** 0.5
        return scale * (1 - 2 * self.negative.to(like))[:, None]

    def _at(self, y: Tensor) -> Tensor:
        return self.rows[:, None].expand(-1, y.shape[1], -1)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(self._signs(x) * x.flatten(2), (0, self.size - self.domain.pixels))
        return walsh_hadamard(padded).gather(2, self._at(x))

    def adjoint(self, y: Tensor) -> Tensor:
        whole = y.new_zeros(*y.shape[:2], self.size).scatter(2, self._at(y), y)
        return (self._signs(y) * walsh_hadamard(whole)[..., : self.domain.pixels]).unflatten(2, self.domain.shape)

    def decomposed(self) -> tuple[Tensor, Tensor]:
        return _decomposed(self.rows, self.domain.pixels, self.size)

    def __len__(self) -> int:
        return len(self.rows)


@lru_cache(maxsize=2)  # tensors are compared by identity
def _decomposed(rows: Tensor, pixels: int, size: int) -> tuple[Tensor, Tensor]:
    """The product of rows i and j is value `i xor j` of the transform of ones at the pixels and zeros elsewhere."""
    seen = (torch.arange(size, device=rows.device) < pixels).double()
    products = walsh_hadamard(seen) * (size**0.5 / pixels)
    return decompose(products[rows[:, :, None] ^ rows[:, None]])
