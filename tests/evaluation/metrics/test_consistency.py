from dataclasses import dataclass

import pytest
import torch
from support.metrics import value
from torch import Tensor

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.evaluation.metrics.base import Outcome
from invkit.evaluation.metrics.consistency import DataMisfit
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.base import LinearOperator
from invkit.physics.operators.mask import Mask


@dataclass(frozen=True, eq=False)
class Halves(LinearOperator):
    """Twice the left half of a picture: (B, C, H, W // 2)."""

    like: Tensor  # (B, C, H, W)

    @property
    def grid(self) -> Grid:
        return Grid(self.like.shape[2], self.like.shape[3], self.like.shape[1])

    @property
    def range_shape(self) -> tuple[int, ...]:
        return self.like.shape[1], self.like.shape[2], self.like.shape[3] // 2

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x[..., : x.shape[-1] // 2]

    def adjoint(self, y: Tensor) -> Tensor:
        raise NotImplementedError

    def pinv(self, y: Tensor) -> Tensor:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.like)


@pytest.mark.parametrize("kind", ["mask", "channel mask", "halves"])
def test_an_offset_of_the_measured_values_is_the_misfit(kind):
    keys = Keys.of(0, "test", range(4))
    truth = keys.uniform("x", 3, 8, 8)
    if kind == "halves":
        operator, gain = Halves(truth), 2
    else:
        operator, gain = Mask(keys.uniform("mask", 1 if kind == "mask" else 3, 8, 8) < 0.2), 1
    measurement = Measurement(operator, operator.forward(truth))
    assert value(DataMisfit(), Outcome(truth, measurement, "mean", truth)) == 0
    assert value(DataMisfit(), Outcome(truth, measurement, "mean", truth + 0.25)) == pytest.approx(
        0.25 * gain, rel=1e-5
    )
    samples = torch.stack([truth + 0.3, truth - 0.4])
    assert value(DataMisfit(), Outcome(truth, measurement, "sample", samples[0], samples)) == pytest.approx(
        gain * (0.125) ** 0.5, rel=1e-5
    )


def test_the_truth_misfits_by_the_noise():
    keys = Keys.of(0, "test", range(16))
    truth = keys.uniform("x", 3, 16, 16)
    measurement = measure(Mask(keys.uniform("mask", 1, 16, 16) < 0.5), truth, Noise(sigma=0.2), keys.child("noise"))
    assert value(DataMisfit(), Outcome(truth, measurement, "mean", truth)) == pytest.approx(0.2, rel=0.03)
