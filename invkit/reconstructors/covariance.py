"""The law of pictures that a linear estimate needs: their mean and full covariance, shrunk towards a field."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from invkit.physics.gaussian import dct, idct

RIDGE = (
    1e-9  # added to the variance of every pixel, so that pictures with equal colours have a covariance with an inverse
)


@dataclass(frozen=True, eq=False)
class PictureLaw:
    """Mean and covariance of the n = C H W values of pictures on one grid."""

    mean: Tensor  # (n,) float64
    covariance: Tensor  # (n, n) float64, positive definite
    intensity: float  # share of the field in the covariance: 0 to 1

    @classmethod
    def fit(cls, x: Tensor, groups: Sequence[str]) -> Self:
        """Fit to pictures (N, C, H, W); those of one group are not independent of each other.

        The covariance is `(1 - s) S + s T`. S is the pictures' own, and T the field fitted to them: S without what joins
        different cosine modes. The intensity s minimises the expected squared Frobenius error: the variance of what is
        left out, as it is between groups, over its square (Ledoit & Wolf 2004, section 3, with T in the place of the identity;
        Schäfer & Strimmer 2005, target D).
        """
        count, channels, shape = len(x), x.shape[1], x.shape[2:]
        mean = x.mean(0, dtype=torch.float64)
        modes = dct(x - mean.to(x)).flatten(2)  # (N, C, modes)
        own = torch.einsum("ncm,ndm->mcd", modes, modes).double() / count  # S within each mode
        flat = modes.flatten(1)
        second = sum((part.T @ part).double() for part in flat.split(1024)) / count
        assert isinstance(second, Tensor)
        between = float(second.square().sum() - own.square().sum())

        names = {name: i for i, name in enumerate(dict.fromkeys(groups))}
        place = torch.tensor([names[name] for name in groups], device=x.device)
        order, sizes = place.argsort(stable=True), place.bincount()
        noise = -between * float(sizes.double().square().sum())
        for part in modes[order].split(sizes.tolist()):
            rows = part.flatten(1)
            noise += float((rows @ rows.T).double().square().sum())
            noise -= float(torch.einsum("ncm,ndm->mcd", part, part).double().square().sum())
        intensity = min(1.0, max(0.0, noise / count**2 / between)) if between > 0 else 1.0

        shrunk = (1 - intensity) * second.view(channels, len(own), channels, len(own))
        shrunk.diagonal(dim1=1, dim2=3).add_(intensity * own.permute(1, 2, 0))
        half = idct(shrunk.reshape(-1, channels, *shape)).reshape(len(second), -1)
        covariance = idct(half.T.reshape(-1, channels, *shape)).reshape(len(second), -1)
        covariance.diagonal().add_(RIDGE)
        return cls(mean.flatten(), (covariance + covariance.T) / 2, intensity)

    @cached_property
    def root(self) -> Tensor:
        """Lower triangular, `root root^T = covariance`."""
        return torch.linalg.cholesky(self.covariance)
