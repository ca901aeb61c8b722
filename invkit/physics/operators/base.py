"""The base classes of forward operators."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.core.grid import Grid

STEPS = 20  # gradient steps of the default of `Operator.initial`
HALVINGS = 10  # of a step that is too long


class Operator(ABC):
    """A batch of differentiable maps `A: (B, C, H, W) -> (B, *range_shape)`, one for each image, not necessarily linear.

    Subclasses are frozen dataclasses whose tensor fields have the batch first; with a field `batch: int`, a tensor of length 1
    applies to the whole batch. A field may also be a tuple of operators. Results have the dtype and device of the argument:
    floating-point fields are cast to its dtype where they are used, so float64 is never rounded to float32. `invkit.testing`
    checks all of this.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__repr__" not in vars(cls):  # a dataclass would print its tensors
            cls.__repr__ = Operator.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} on {self.grid})"

    @property
    @abstractmethod
    def grid(self) -> Grid: ...

    @property
    @abstractmethod
    def range_shape(self) -> tuple[int, ...]: ...

    @property
    def range_weight(self) -> float:
        """Weight of a measured value in the inner product of measurements; a pixel has the weight `grid.area`."""
        return 1.0

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """`A(x)`: images (B, C, H, W) to measurements (B, *range_shape)."""

    @abstractmethod
    def __len__(self) -> int:
        """The batch size."""

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """`J(x)^T v` with the derivative J of `forward` at images x, in unweighted inner products: an image (B, C, H, W).

        By autograd; an override has to be differentiable in v.
        """
        with torch.enable_grad():
            at = x if x.requires_grad else x.detach().requires_grad_()
            return torch.autograd.grad(self.forward(at), at, v, create_graph=v.requires_grad)[0]

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        """`J(x) u` (B, *range_shape) for images u: the derivative of `v -> <J(x)^T v, u>`."""
        with torch.enable_grad():
            v = x.new_zeros(len(x), *self.range_shape).requires_grad_()
            pulled = self.vjp(x.detach(), v)
            if not pulled.requires_grad:  # J does not depend on x, and is zero
                return torch.zeros_like(v)
            return torch.autograd.grad(pulled, v, u)[0]

    def initial(self, y: Tensor, start: Tensor | None = None) -> Tensor:
        """An image (B, C, H, W) that fits y, from which the conditional model starts.

        `STEPS` steps along the gradient of `|y - A(x)|^2` from `start` (None: zero), for example the prior's mean. A step has the
        best length for the linearised operator, and is halved until the residual decreases.
        """
        x = y.new_zeros(len(self), *self.grid.picture) if start is None else start.expand(len(self), *self.grid.picture)
        r = y - self.forward(x)
        for _ in range(STEPS):
            descent = self.vjp(x, r)
            image = self.jvp(x, descent).flatten(1)
            step = descent.flatten(1).square().sum(1) / image.square().sum(1).clamp(min=1e-30)
            before = r.flatten(1).square().sum(1)
            for _ in range(HALVINGS):
                new = x + step.view(-1, 1, 1, 1) * descent
                error = (y - self.forward(new)).flatten(1).square().sum(1)
                if bool((better := error < before).all()):
                    break
                step = torch.where(better, step, step / 2)
            x = torch.where(better.view(-1, 1, 1, 1), new, x)
            r = y - self.forward(x)
        return x

    def measured(self, y: Tensor) -> Tensor:
        """`y` (B, *range_shape) with zeros at entries that are never measured, such as the hidden pixels of a mask."""
        return y

    def to(self, device: torch.device | str) -> Self:
        return self._map(lambda t: t.to(device), lambda part: part.to(device))

    def __getitem__(self, index: slice | Tensor) -> Self:
        def chosen(t: Tensor) -> Tensor:
            return t[index.to(t.device) if isinstance(index, Tensor) else index]

        return self._along(chosen, lambda part: part[index])

    def repeat(self, count: int) -> Self:
        """The batch repeated `count` times, in the order of `Keys.fork`."""
        return self._along(lambda t: t.repeat(count, *[1] * (t.ndim - 1)), lambda part: part.repeat(count))

    def _map(self, fn: Callable[[Tensor], Tensor], parts: Callable[[Any], Any]) -> Self:
        """Apply `fn` to each tensor, and `parts` to each operator of a tuple."""
        changes: dict[str, Any] = {}
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                changes[f.name] = fn(value)
            elif isinstance(value, tuple) and value and isinstance(value[0], Operator):
                changes[f.name] = tuple(map(parts, value))
        return replace(self, **changes)  # type: ignore[type-var]

    def _along(self, fn: Callable[[Tensor], Tensor], parts: Callable[[Any], Any]) -> Self:
        """Apply `fn` to everything that has the batch first, and adapt the field `batch`."""
        batch = getattr(self, "batch", None)
        made = self._map(lambda t: t if batch and len(t) == 1 else fn(t), parts)
        return made if batch is None else replace(made, batch=len(fn(torch.empty(batch))))  # type: ignore[type-var]


class LinearOperator(Operator):
    """A batch of linear maps `A: (B, C, H, W) -> (B, *range_shape)`, one for each image.

    The inner product of images is the L2 inner product on the domain (`grid.area` per pixel), that of measurements weights each
    value by `range_weight`, and `adjoint` is the adjoint with respect to both.
    """

    @property
    def pinv_tolerance(self) -> float:
        """Relative error of the Penrose conditions where `pinv` is iterative or truncated; 0: exact."""
        return 0.0

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """`A* y`, the adjoint in the weighted inner products: (B, *range_shape) to (B, C, H, W)."""

    @abstractmethod
    def pinv(self, y: Tensor) -> Tensor:
        """`A+ y`, the least-squares image of minimal norm: (B, *range_shape) to (B, C, H, W)."""

    def spectral(self, f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor | None:
        """`f(|A|) x` with `|A| = (A^T A)^(1/2)`, for images (B, C, H, W); None without a closed-form decomposition.

        Each right singular component of `x` is multiplied by `f` of its singular value, which maps float64 tensors elementwise;
        hidden pixels and components truncated by `pinv` have singular value zero.
        """
        return None

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.adjoint(v) * (self.grid.area / self.range_weight)

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        return self.forward(u)

    def initial(self, y: Tensor, start: Tensor | None = None) -> Tensor:
        """The image nearest to `start` among those that fit y best: `start + A+ (y - A start)`."""
        return self.pinv(y) if start is None else start + self.pinv(y - self.forward(start))


def linear(operator: Operator, who: str) -> LinearOperator:
    """The operator, which `who` requires to be linear. Raises Unavailable if it is not."""
    if not isinstance(operator, LinearOperator):
        raise Unavailable(f"{who} requires a linear operator, and {type(operator).__name__} is not linear")
    return operator
