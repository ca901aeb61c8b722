"""The forward operator of phase retrieval."""

from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.api import Grid, Operator

FLOOR = 0.01  # of a magnitude, which makes it smooth at zero; a grey image has coded magnitudes of about .5
SPECTRAL = 10  # power iterations of the spectral initialisation
STEPS = 20  # projections that follow


@dataclass(frozen=True, eq=False)
class Magnitudes(Operator):
    """`A(x) = (|B u|^2 + FLOOR^2)^(1/2)` of `u = (x + 1) / 2`, each channel alone: B multiplies by masks and transforms.

    The range is (C, patterns, h, w). `B^H B` is the number of patterns times the identity, as F is orthonormal and the masks have
    magnitude one.
    """

    batch: int
    domain: Grid
    size: tuple[int, int]  # (h, w) of the transform
    masks: Tensor  # (1 or B, patterns, H, W) complex128

    @property
    def grid(self) -> Grid:
        return self.domain

    @property
    def range_shape(self) -> tuple[int, int, int, int]:
        return self.domain.channels, self.masks.shape[1], *self.size

    @property
    def range_weight(self) -> float:
        return self.domain.area

    def _field(self, u: Tensor) -> Tensor:
        """`B u`: (B, C, H, W) to complex (B, C, patterns, h, w)."""
        masks = self.masks.to(torch.complex(u[:1], u[:1]).dtype)[:, None]
        return torch.fft.fft2(masks * u[:, :, None], s=self.size, norm="ortho")

    def _back(self, z: Tensor) -> Tensor:
        """`Re B^H z`."""
        height, width = self.domain.shape
        images = torch.fft.ifft2(z, norm="ortho")[..., :height, :width]
        return (self.masks.to(z)[:, None].conj() * images).sum(2).real

    def _magnitude(self, z: Tensor) -> Tensor:
        return (z.real.square() + z.imag.square() + FLOOR**2).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        return self._magnitude(self._field((x + 1) / 2))

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        z = self._field((x + 1) / 2)
        return self._back(v * z / self._magnitude(z)) / 2

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        z = self._field((x + 1) / 2)
        return (z.conj() * self._field(u / 2)).real / self._magnitude(z)

    def initial(self, y: Tensor, start: Tensor | None = None) -> Tensor:
        """Spectral initialisation, unless `start` is given, and `STEPS` projections.

        The spectral estimate is the leading eigenvector of `B^H y^2 B` (Candes, Li & Soltanolkotabi 2015, algorithm 1) by power
        iterations from a ramp, with the norm that y implies. A projection keeps the phases of `B u`, takes the magnitudes y, and
        the nearest image that is not negative (Fienup 1982: error reduction).
        """
        y, patterns = y.clamp(min=0), self.masks.shape[1]
        if start is None:
            u = self._spectral(y)
        else:
            u = (start.expand(len(y), -1, -1, -1) + 1) / 2
        for _ in range(STEPS):
            z = self._field(u)
            u = (self._back(y * z / self._magnitude(z)) / patterns).clamp(min=0)
        return 2 * u - 1

    def _spectral(self, y: Tensor) -> Tensor:
        height, width = self.domain.shape
        rows = torch.linspace(1, 2, height, dtype=y.dtype, device=y.device)[:, None]
        u = (rows + torch.linspace(0, 1, width, dtype=y.dtype, device=y.device)).expand(*y.shape[:2], -1, -1)
        for _ in range(SPECTRAL):
            u = self._back(y.square() * self._field(u))
            u = u / u.square().mean((2, 3), keepdim=True).sqrt().clamp(min=1e-12)
        power = y.square().sum((2, 3, 4)) / (self.masks.shape[1] * height * width)
        return u.abs() * power.sqrt()[..., None, None]

    def __len__(self) -> int:
        return self.batch
