"""A batch of DeepInverse physics as a `LinearOperator`."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from invkit.api import Grid, LinearOperator, least_squares

TOLERANCE = 2e-4  # of conjugate gradients, for a pseudo-inverse without a closed form


@dataclass(frozen=True, eq=False)
class Adapted(LinearOperator):
    """`A`, `A_adjoint` and, if it has a closed form, `A_dagger` of a physics; otherwise conjugate gradients.

    Measured values have the weight of pixels, so that the adjoint of DeepInverse is the adjoint here too.
    """

    domain: Grid
    shape: tuple[int, ...]  # of the measured values
    physics: tuple[Any, ...]  # one for all images, or one for each
    item: Tensor  # (B,) index of the physics of each image
    channelwise: bool  # the physics is applied to each channel as a separate image
    exact: bool  # A_dagger has a closed form

    @property
    def grid(self) -> Grid:
        return self.domain

    @property
    def range_shape(self) -> tuple[int, ...]:
        return self.shape

    @property
    def range_weight(self) -> float:
        return self.domain.area

    @property
    def pinv_tolerance(self) -> float:
        return 0.0 if self.exact else 25 * TOLERANCE

    def forward(self, x: Tensor) -> Tensor:
        return self._each(lambda physics, v: physics.A(v), x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._each(lambda physics, v: physics.A_adjoint(v), y)

    def pinv(self, y: Tensor) -> Tensor:
        return (
            self._each(lambda physics, v: physics.A_dagger(v), y) if self.exact else least_squares(self, y, TOLERANCE)
        )

    def _each(self, act: Callable[[Any, Tensor], Tensor], v: Tensor) -> Tensor:
        """Apply a map of its physics to each image, or measurement."""

        def one(physics: Any, part: Tensor) -> Tensor:
            physics = cast(physics, part.device, part.dtype)
            if not self.channelwise:
                return act(physics, part)
            single = part.reshape(len(part) * self.domain.channels, -1, *part.shape[2:])
            result = act(physics, single)
            return result.reshape(len(part), -1, *result.shape[2:])

        if len(self.physics) == 1:
            return one(self.physics[0], v)
        return torch.cat([one(self.physics[i], v[n : n + 1]) for n, i in enumerate(self.item.tolist())])

    def __len__(self) -> int:
        return len(self.item)


@lru_cache(maxsize=1024)  # by identity
def cast(physics: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A copy of a physics on a device and in a dtype, including the `dtype` attribute that some of its modules have."""

    def typed(t: Tensor) -> Tensor:  # `Module.to` makes complex tensors real
        return t.to(device, dtype.to_complex() if t.is_complex() else dtype if t.is_floating_point() else t.dtype)

    copied = copy.deepcopy(physics)._apply(typed)
    for module in copied.modules():
        if "dtype" in vars(module):
            module.dtype = dtype
    return copied
