"""Broken degradations, each with the checks that it must fail."""

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from pydantic import ConfigDict, Field, PrivateAttr

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.degradation import Degradation
from invkit.physics.operators.base import LinearOperator
from support.sound import Blurred, Curve, Gain, Ghost, Response, SomePixels

MUTANTS: dict[str, tuple[type[Degradation], set[str]]] = {}


def mutant(*caught_by):
    """Register a degradation, or an operator with one that samples it, with the checks that it must fail."""

    def register(cls):
        degradation = cls
        if not issubclass(cls, Degradation):
            parent = SomePixels if issubclass(cls, Gain) else Response if issubclass(cls, Curve) else Ghost
            degradation = type(cls.__name__, (parent,), {"operator": cls, "__module__": __name__})
        MUTANTS[cls.__name__] = degradation, set(caught_by)
        return cls

    return register


@mutant("adjoint")
class AdjointOffByAConstant(Gain):
    def adjoint(self, y):
        return 1.0001 * super().adjoint(y)


@mutant("adjoint")
class AdjointForSymmetricKernels(Blurred):
    def adjoint(self, y):
        return self.forward(y)


@mutant("adjoint")
class AdjointForSquareGrids(Gain):
    def adjoint(self, y):
        return super().adjoint(y) * self.grid.pixels * self.grid.area


@mutant("adjoint")
class AdjointSwapsColours(Gain):
    def adjoint(self, y):
        return super().adjoint(y).flip(1)


@mutant("adjoint")
class AdjointHasTheOtherSign(Gain):
    def adjoint(self, y):
        return -super().adjoint(y)


@mutant("adjoint")
class NoRangeWeight(Gain):
    range_weight = 1.0


@mutant("linearity")
class ForwardIsAffine(Gain):
    def forward(self, x):
        return super().forward(x + 0.1)


@mutant("linearity")
class PinvIsAffine(Gain):
    def pinv(self, y):
        return super().pinv(y) + 0.5


@mutant("gradients")
class ForwardDetaches(Gain):
    def forward(self, x):
        return super().forward(x.detach())


@mutant("gradients")
class ForwardThroughNumpy(Gain):
    def forward(self, x):
        return super().forward(torch.from_numpy(x.detach().numpy() * 1))


class _Halved(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient / 2


@mutant("gradients")
class WrongBackward(Gain):
    def forward(self, x):
        return super().forward(_Halved.apply(x))


@mutant("pinv")
class PinvIsTheAdjoint(Gain):
    def pinv(self, y):
        return self.adjoint(y)


@mutant("pinv")
class PinvOfAnotherWidth(Blurred):
    def pinv(self, y):
        return self.filter(y, lambda response: response.conj() / (response.abs() ** 2 + 1e-3))


@mutant("pinv")  # fits the measurements, but is not of least norm: only "A+ A self-adjoint" detects it
class PinvFillsWithTheMean(Gain):
    def pinv(self, y):
        known = super().pinv(y)
        mean = known.sum((2, 3), keepdim=True) / self.observed.sum((2, 3), keepdim=True)
        return torch.where(self.observed, known, mean)


@mutant("pinv")
class PinvStatesAnything(Gain):
    pinv_tolerance = 0.5


@mutant("dtype")
class ForwardGivesFloat32(Gain):
    def forward(self, x):
        return super().forward(x.float())


@mutant("dtype")
class ComputesInFloat32(Blurred):
    def filter(self, x, fn):
        return super().filter(x.float(), fn).to(x.dtype)


@mutant("dtype")
class GivesFloat64Always(Gain):
    def forward(self, x):
        return x * self.observed * self.gain.double()


@mutant("purity")
class WritesIntoItsArgument(Gain):
    def forward(self, x):
        return x.mul_(self.observed).mul_(self.gain.to(x.dtype))


@mutant("purity")
class CountsItsCalls(Gain):
    def forward(self, x):
        object.__setattr__(self, "calls", getattr(self, "calls", 0) + 1)
        return super().forward(x)


@mutant("purity")
class KeepsACache(Gain):
    @cached_property
    def product(self):
        return self.observed * self.gain

    def adjoint(self, y):
        return y * self.product.to(y.dtype)


@mutant("purity")
class AdvancesNumpy(Gain):
    def pinv(self, y):
        np.random.rand()  # noqa: NPY002
        return super().pinv(y)


@mutant("purity")
class DrawsFromTheGlobalGenerator(SomePixels):
    def gain(self, keys):
        return super().gain(keys) + torch.rand(())


@mutant("purity")
class CountsItsDraws(SomePixels):
    _draws: int = PrivateAttr(0)

    def gain(self, keys):
        self._draws += 1
        return super().gain(keys)


@mutant("frozen")
class NotFrozen(SomePixels):
    model_config = ConfigDict(frozen=False)


@dataclass(eq=False)
class _Loose(LinearOperator):
    inner: Gain

    grid = property(lambda self: self.inner.grid)
    range_shape = property(lambda self: self.inner.range_shape)
    range_weight = property(lambda self: self.inner.range_weight)

    def forward(self, x):
        return self.inner.forward(x)

    def adjoint(self, y):
        return self.inner.adjoint(y)

    def pinv(self, y):
        return self.inner.pinv(y)

    def to(self, device):
        return _Loose(self.inner.to(device))

    def __getitem__(self, index):
        return _Loose(self.inner[index])

    def repeat(self, count):
        return _Loose(self.inner.repeat(count))

    def __len__(self):
        return len(self.inner)


@mutant("frozen")
class OperatorNotFrozen(SomePixels):
    def sample(self, keys, grid):
        return _Loose(super().sample(keys, grid))


@mutant("keys")
class DrawDependsOnTheBatchSize(SomePixels):
    def gain(self, keys):
        return 1.5 + keys.uniform("gain", 1, 1, 1) / len(keys)


@mutant("keys")
class DrawDependsOnThePlace(SomePixels):
    def gain(self, keys):
        return 1.5 + torch.arange(len(keys)).view(-1, 1, 1, 1) / 100


@mutant("keys")
class DrawIgnoresTheOrder(SomePixels):
    def gain(self, keys):
        return super().gain(Keys(np.sort(keys.hashes)))


@mutant("keys")
class DrawIsScaledByTheBatch(SomePixels):
    def gain(self, keys):
        gain = super().gain(keys)
        return gain / gain.max()


class _Centred(Gain):
    def forward(self, x):
        return x - x.mean(0)

    adjoint = pinv = forward


@mutant("batch")
class CentresTheBatch(Degradation):
    def sample(self, keys, grid):
        return _Centred(torch.ones(len(keys), 1, *grid.shape).bool(), torch.ones(len(keys), 1, 1, 1), grid.channels)


@mutant("batch")
class OneGainForAll(SomePixels):
    def sample(self, keys, grid):
        return _Mean(**vars(super().sample(keys, grid)))


class _Mean(Gain):
    def filter(self):
        return Gain(self.observed, self.gain.mean(0, keepdim=True), self.channels)

    def forward(self, x):
        return self.filter().forward(x)

    def adjoint(self, y):
        return self.filter().adjoint(y)

    def pinv(self, y):
        return self.filter().pinv(y)


@mutant("batch")
class RepeatsInAnotherOrder(Gain):
    def repeat(self, count):
        changes = {f.name: getattr(self, f.name) for f in fields(self)}
        repeated = {k: v.repeat_interleave(count, 0) for k, v in changes.items() if isinstance(v, torch.Tensor)}
        return replace(self, **repeated)


@mutant("batch")
class SlicesHalfOfItself(Gain):
    def __getitem__(self, index):
        return replace(self, observed=self.observed[index], gain=self.gain[: len(self.observed[index])])


@mutant("shapes")
class FailsOnOddGrids(Gain):
    def forward(self, x):
        return super().forward(x).unfold(3, 2, 2).flatten(3).view_as(x)


@mutant("shapes")
class RefusesOddGrids(SomePixels):
    def sample(self, keys, grid):
        if grid.width % 2:
            raise ValueError("the width has to be even")
        return super().sample(keys, grid)


@mutant("shapes")
class RefusesWithoutAWord(SomePixels):
    def sample(self, keys, grid):
        if grid.pixels == 1:
            raise ValueError
        return super().sample(keys, grid)


@mutant("shapes")
class WantsThreeChannels(SomePixels):
    def sample(self, keys, grid):
        if grid.channels != 3:
            raise RuntimeError("three channels, please")
        return super().sample(keys, grid)


@mutant("shapes")
class NotFiniteOnOnePixel(Gain):
    def forward(self, x):
        return super().forward(x) / float(self.grid.pixels > 1)


@mutant("shapes")
class FlattensTheRange(Gain):
    def forward(self, x):
        return super().forward(x).flatten(2)


@mutant("shapes")
class CallsEveryPictureColoured(Gain):
    grid = property(lambda self: Grid(*self.observed.shape[2:], 3))


@mutant("resolution")
class WidthInPixels(Ghost):
    width: float = Field(3.0, gt=0)
    shift: float = Field(2.0, gt=0)

    def cell(self, grid):
        return 1.0


@mutant("resolution")
class LawThatSaysNothing(Ghost):
    @property
    def resolution_law(self):
        return 1.0


@mutant("settings")
class IgnoresASetting(SomePixels):
    width: float = Field(0.1, gt=0, le=1)


@mutant("settings")
class SettingThatCannotBeTried(SomePixels):
    kernel: str = ""


@mutant("cost")
class TransformsForEveryPixel(Gain):
    def forward(self, x):
        for _ in range(self.grid.pixels if self.grid.pixels == 64**2 else 1):
            torch.fft.rfft2(x)
        return super().forward(x)

    adjoint = forward
