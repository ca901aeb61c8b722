"""Measurements: noisy values of `A(x)`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.noise import Law, Noise, NoiseLaw, white_sigma
from invkit.physics.operators.base import Operator
from invkit.physics.operators.mask import Mask


@dataclass(frozen=True, eq=False, init=False)
class Measurement:
    """A forward operator, its data y and the distribution of their noise: all that a reconstructor is given.

    By default the noise is white and Gaussian, with a standard deviation of `sigma`.
    """

    operator: Operator
    y: Tensor  # (B, *range_shape)
    noise: Law

    def __init__(self, operator: Operator, y: Tensor, sigma: float = 0.0, noise: Law | None = None) -> None:
        given = Noise(sigma=float(sigma)) if noise is None else noise
        for name, value in (("operator", operator), ("y", y), ("noise", given)):
            object.__setattr__(self, name, value)

    @property
    def sigma(self) -> float:
        """The standard deviation of white Gaussian noise. Raises Unavailable for any other noise."""
        return white_sigma(self.noise)

    def log_likelihood(self, clean: Tensor) -> Tensor:
        """`log p(y | A(x))` given noiseless values `A(x)` (B, *range), up to a constant: (B,)."""
        return self.operator.measured(self.noise.log_likelihood(self.y, clean)).flatten(1).sum(1)

    def score(self, clean: Tensor) -> Tensor:
        """The gradient of `log_likelihood` in the noiseless values (B, *range). Raises Unavailable where it says nothing."""
        if not self.noise.smooth:
            raise Unavailable(f"requires a likelihood with a gradient, which {self.noise!r} has not; give it a sigma")
        with torch.enable_grad():
            at = clean.detach().requires_grad_()
            return torch.autograd.grad(self.log_likelihood(at).sum(), at)[0]

    @property
    def grid(self) -> Grid:
        return self.operator.grid

    @property
    def observed(self) -> Tensor | None:
        """The mask (B, 1 or C, H, W) where the operator is one, else None."""
        return self.operator.observed if isinstance(self.operator, Mask) else None

    @property
    def exact(self) -> Tensor | None:
        """The pixels that are known exactly (B, 1 or C, H, W): those that a mask observes without noise. Else None."""
        return self.observed if self.noise.noiseless else None

    def __repr__(self) -> str:
        noise = repr(self.noise) if self.noise.white is None else f"sigma {self.sigma:g}"
        return f"Measurement({self.operator}, y {'x'.join(map(str, self.y.shape))}, {noise})"

    def __len__(self) -> int:
        return len(self.operator)

    def __getitem__(self, index: slice | Tensor) -> "Measurement":
        return Measurement(self.operator[index], self.y[index], noise=self.noise[index])

    def repeat(self, count: int) -> "Measurement":
        y = self.y.repeat(count, *[1] * (self.y.ndim - 1))
        return Measurement(self.operator.repeat(count), y, noise=self.noise.repeat(count))

    def to(self, device: torch.device | str) -> "Measurement":
        return Measurement(self.operator.to(device), self.y.to(device), noise=self.noise.to(device))

    def paste(self, x: Tensor) -> Tensor:
        """`x` (..., B, C, H, W) with the exactly known pixels put in."""
        return x if self.exact is None else torch.where(self.exact, self.y, x)


def measure(
    operator: Operator,
    x: Tensor,  # (B, C, H, W)
    noise: NoiseLaw,
    keys: Keys,
) -> Measurement:
    """The measurement of images, with noise keyed by image: for white Gaussian noise `y = A(x) + sigma e`."""
    y, law = operator.forward(x), noise.drawn(keys)
    if not law.noiseless:
        y = operator.measured(law.sample(keys, y))
    return Measurement(operator, y, noise=law)


__all__ = ["Measurement", "Noise", "measure"]
