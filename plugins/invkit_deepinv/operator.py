"""A batch of DeepInverse's physics as one of our operators."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from invkit.api import Grid, LinearOperator, least_squares

TOLERANCE = 2e-4  # of the pseudo-inverse where it has no closed form


@dataclass(frozen=True, eq=False)
class Adapted(LinearOperator):
    """`A`, `A_adjoint` and, where it is a closed form, `A_dagger` of a physics; else conjugate gradients.

    Measured values weigh as pixels do, which makes DeepInverse's adjoint the adjoint here too.
    """

    domain: Grid
    shape: tuple[int, ...]  # of what is measured
    physics: tuple[Any, ...]  # one for all, or one for each picture that was drawn
    item: Tensor  # (B,) which of them measures a picture
    channelwise: bool  # the physics sees every channel as a picture of its own
    exact: bool  # A_dagger is a closed form

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
        """Every picture, or measurement, through its own physics."""

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
    """A copy of a physics that works in a type; some note theirs beside their tensors."""

    def typed(t: Tensor) -> Tensor:  # `Module.to` makes complex tensors real
        return t.to(device, dtype.to_complex() if t.is_complex() else dtype if t.is_floating_point() else t.dtype)

    made = copy.deepcopy(physics)._apply(typed)
    for module in made.modules():
        if "dtype" in vars(module):
            module.dtype = dtype
    return made
