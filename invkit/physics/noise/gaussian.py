"""White Gaussian noise, of one level or of a level drawn for each image."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field, field_validator
from torch import Tensor

from invkit.core.keys import Keys
from invkit.physics.noise.base import Law, NoiseLaw

Level = Annotated[float, Field(ge=0, le=10)]


class Noise(NoiseLaw):
    """Additive white Gaussian noise of the measurements."""

    sigma: Level | tuple[Level, Level] = Field(
        0.0,
        description="standard deviation of each measured value, 0 to 10; or a range, from which it is drawn for each image. "
        "Images are in [-1, 1]",
        examples=[0.1, (0.05, 0.3)],
    )

    @field_validator("sigma")
    @classmethod
    def _bounds(cls, sigma: float | tuple[float, float]) -> float | tuple[float, float]:
        low, high = sigma if isinstance(sigma, tuple) else (sigma, sigma)
        if not low <= high or (low == 0 and isinstance(sigma, tuple)):
            raise ValueError("of a range, the lower bound should be first and above 0")
        return sigma

    def drawn(self, keys: Keys) -> Law:
        if not isinstance(self.sigma, tuple):
            return self
        low, high = self.sigma
        return GaussianOfEach(low + (high - low) * keys.uniform("level", 1)[:, 0])

    @property
    def white(self) -> float | None:
        return None if isinstance(self.sigma, tuple) else self.sigma

    @property
    def noiseless(self) -> bool:
        return self.white == 0

    def sample(self, keys: Keys, clean: Tensor) -> Tensor:
        law = self.drawn(keys)
        if isinstance(law, GaussianOfEach):
            return law.sample(keys, clean)
        return clean if self.noiseless else clean + self.white * keys.normal("noise", *clean.shape[1:]).to(clean)  # type: ignore[operator]

    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        if self.noiseless:
            return torch.where(y == clean, 0.0, -torch.inf).to(clean)
        return -(y - clean).square() / (2 * self.variance(clean))

    def variance(self, clean: Tensor) -> Tensor:
        """Of a range: the mean variance."""
        low, high = self.sigma if isinstance(self.sigma, tuple) else (self.sigma, self.sigma)
        return torch.full_like(clean, (low**2 + low * high + high**2) / 3)

    @property
    def smooth(self) -> bool:
        return not self.noiseless


@dataclass(frozen=True, eq=False, repr=False)
class GaussianOfEach(Law):
    """White Gaussian noise of another level for each image."""

    sigma: Tensor  # (B,)

    def __repr__(self) -> str:
        return f"Gaussian noise of {float(self.sigma.min()):.3g} to {float(self.sigma.max()):.3g}"

    def _like(self, clean: Tensor) -> Tensor:
        return self.sigma.to(clean).view(-1, *[1] * (clean.ndim - 1))

    def sample(self, keys: Keys, clean: Tensor) -> Tensor:
        return clean + self._like(clean) * keys.normal("noise", *clean.shape[1:]).to(clean)

    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        return -(y - clean).square() / (2 * self._like(clean).square())

    def variance(self, clean: Tensor) -> Tensor:
        return self._like(clean).square().expand_as(clean)

    def __getitem__(self, index: slice | Tensor) -> "GaussianOfEach":
        return GaussianOfEach(self.sigma[index.to(self.sigma.device) if isinstance(index, Tensor) else index])

    def repeat(self, count: int) -> "GaussianOfEach":
        return GaussianOfEach(self.sigma.repeat(count))

    def to(self, device: torch.device | str) -> "GaussianOfEach":
        return GaussianOfEach(self.sigma.to(device))
