"""The posterior of a mixture of Gaussian fields given a linear measurement: the mixture of the posteriors of its components.

The weight of a component given `y = A x + sigma e` is proportional to `w_i N(y; A m_i, A C_i A^T + sigma^2)`, its evidence.
"""

from functools import cached_property

import torch
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.core.keys import Keys
from invkit.physics.gaussian import GaussianField
from invkit.physics.gaussian.kriging import DENSE_VALUES, NUGGET
from invkit.physics.gaussian.mixture import Component, GaussianMixture, choose
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement
from invkit.physics.operators.base import linear

AT_ONCE = 2**24  # values of images to which an operator is applied together


class MixturePosterior:
    """The posterior of a `mixture` given a measurement; immutable. That of one component is its `GaussianPosterior`.

    Without noise, the weights assume a small one, the same for all components: `NUGGET` times the mean prior variance of a
    measured value. Raises Unavailable if there are several components and more than `DENSE_VALUES` measured values.
    """

    def __init__(self, mixture: GaussianMixture, measurement: Measurement) -> None:
        self.mixture, self.measurement, self.grid = mixture, measurement, measurement.grid

    @cached_property
    def weights(self) -> Tensor:
        """Posterior weights of the components (B, M), float64."""
        components, y = self.mixture.components, self.measurement.y
        prior = self.mixture.weights.to(y.device)
        if len(components) == 1:
            return prior.expand(len(y), 1)
        return torch.stack([(prior.log() + self._evidence(i)).softmax(0) for i in range(len(y))])

    def _evidence(self, i: int) -> Tensor:
        """Log density of the measured values of image i under each component (M,), up to a constant."""
        one = self.measurement[i : i + 1]
        operator, places = one.operator, one.operator.measured(torch.ones_like(one.y)).flatten().nonzero()[:, 0]
        if len(places) > DENSE_VALUES:
            raise Unavailable(
                f"the weights of the components need at most {DENSE_VALUES} measured values per image, got {len(places)}"
            )
        unique = {component.field for component in self.mixture.components}
        fields = {field: self._gram(field, one, places) for field in unique}
        residuals, grams = [], []
        for component in self.mixture.components:
            mean = component.mean(self.grid, one.y.double())[None]
            residuals.append((one.y.double() - operator.forward(mean)).flatten()[places])
            grams.append(component.scale**2 * fields[component.field])
        scale = torch.stack([gram.diagonal().mean() for gram in grams]) @ self.mixture.weights.to(one.y.device)
        noise = one.sigma**2 or NUGGET * float(scale)
        logs = []
        for r, gram in zip(residuals, grams, strict=True):
            gram.diagonal().add_(noise)
            factor = torch.linalg.cholesky(gram)
            white = torch.linalg.solve_triangular(factor, r[:, None], upper=False)
            logs.append(-0.5 * white.square().sum() - factor.diagonal().log().sum())
        return torch.stack(logs)

    def _gram(self, field: GaussianField, one: Measurement, places: Tensor) -> Tensor:
        """`A C A^T` at the measured values `places` (n,) of one image, as `(A R) (A R)^T` with `C = R R^T`: (n, n) float64."""
        operator, rows = one.operator, []
        for part in places.split(max(1, AT_ONCE // (self.grid.channels * self.grid.pixels))):
            unit = torch.zeros(len(part), one.y.numel(), dtype=torch.float64, device=one.y.device)
            unit[torch.arange(len(part), device=unit.device), part] = 1
            back = (
                linear(operator, "the exact posterior").repeat(len(part)).adjoint(unit.view(-1, *operator.range_shape))
            )
            rows.append(field.root_adjoint(back * (self.grid.area / operator.range_weight), self.grid).flatten(1))
        root = torch.cat(rows)
        return root @ root.T

    def _part(self, component: Component) -> tuple[Tensor, GaussianPosterior]:
        """What to add to `scale` times the posterior of the component's field, (C, H, W), and that posterior."""
        measurement, s = self.measurement, component.scale
        shift = component.mean(self.grid, measurement.y) - s * component.field.centre(self.grid, measurement.y)
        y = measurement.y - measurement.operator.forward(shift.expand(len(measurement), *self.grid.picture))
        return shift, GaussianPosterior(
            component.field, Measurement(measurement.operator, y / s, measurement.sigma / s)
        )

    def mean(self) -> Tensor:
        """Posterior mean (B, C, H, W)."""
        weights, total = self.weights, torch.zeros(1)
        for i, component in enumerate(self.mixture.components):
            shift, posterior = self._part(component)
            x = shift + component.scale * posterior.mean()
            total = total.to(x) + weights[:, i].to(x).view(-1, 1, 1, 1) * x
        return total

    def sample(self, keys: Keys, count: int) -> Tensor:
        """Exact posterior samples (K, B, C, H, W), keyed by image."""
        chosen = choose(self.weights.repeat(count, 1), keys.fork(count)).view(count, -1)
        x = torch.empty(count, len(keys), *self.grid.picture, dtype=torch.float32, device=self.measurement.y.device)
        for i in chosen.unique().tolist():
            component = self.mixture.components[i]
            shift, posterior = self._part(component)
            draws = shift + component.scale * posterior.sample(keys, count)
            x = torch.where((chosen == i)[:, :, None, None, None], draws.to(x), x)
        return x


__all__ = ["MixturePosterior"]
