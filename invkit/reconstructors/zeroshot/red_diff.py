"""RED-diff: the mode of a variational posterior, found by stochastic optimisation (Mardani et al. 2023)."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from invkit.physics.measurement import Measurement
from invkit.physics.operators.least_squares import times
from invkit.reconstructors.zeroshot.base import Draws, Levels, PointSolver
from invkit.reconstructors.zeroshot.prior import Prior, working

BETAS = (0.9, 0.99)  # of Adam


class RedDiff(PointSolver):
    """RED-diff (Mardani et al. 2023, algorithm 1): Adam on the image mu, with one noise level for each step, falling.

    The gradient is that of `|y - A mu|^2 / 2 + lambda_t <e(mu + s n) - n, mu>` with the predicted noise e held constant:
    `lambda_t (mu - D) / s - A^T (y - A mu)`. `published` has `lambda_t = weight s` (section 4.3: the inverse of the signal-to-noise
    ratio). At level s and for a Gaussian prior of covariance S, mu then tends to the posterior mean for the prior covariance
    `S + s^2 I` and noise of variance `weight s^2`: less and less is regularised. `bayes` has `lambda_t = weight sigma_y^2 / s`, for
    which the prior term is the score of the noisy images, and mu tends to the posterior mode of the prior `S + s^2 I` with noise of
    variance `sigma_y^2` (`weight` 1). The learning rate falls linearly to zero. All images share the draws n, so that the estimate
    needs no key.
    """

    title: ClassVar[str] = "red-diff"
    calls: int = Field(200, ge=2, le=10_000, description="number of steps, of one network call each")
    levels: Levels = Levels(sigma_max=4, sigma_min=0.1)
    balance: Literal["bayes", "published"] = Field(
        "bayes", description="how the weight of the prior depends on the level"
    )
    weight: float = Field(1.0, gt=0, description="lambda: weight of the prior; published with .25")
    rate: float = Field(0.1, gt=0, description="learning rate of Adam at the first step, in pixel units")

    def walk(self, prior: Prior, measurement: Measurement, noise: Draws, levels: Tensor) -> Tensor:
        operator, d = measurement.operator, prior.noise_std(measurement.grid)
        mu = operator.initial(measurement.y)
        m, v = torch.zeros_like(mu), torch.zeros_like(mu)
        for i, here in enumerate(levels.tolist()[:-1]):
            clean = prior.denoise(mu + here * noise(f"step{i}"), here)  # lines 3 to 5
            r, variance = working(measurement, operator.forward(mu))
            typical = variance.flatten(1).mean(1).clamp(min=1e-8)
            per_s = self.weight * (typical / (here * d) ** 2 if self.balance == "bayes" else torch.ones_like(typical))
            g = times(per_s, mu - clean) - operator.vjp(mu, times(typical, r / variance.clamp(min=1e-8)))  # line 6
            m, v = BETAS[0] * m + (1 - BETAS[0]) * g, BETAS[1] * v + (1 - BETAS[1]) * g.square()
            step = self.rate * (1 - i / (len(levels) - 1)) / (1 - BETAS[0] ** (i + 1))
            mu = mu - step * m / ((v / (1 - BETAS[1] ** (i + 1))).sqrt() + 1e-8)  # line 7
        return mu
