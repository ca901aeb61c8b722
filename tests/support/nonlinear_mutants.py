"""Broken degradations whose operators are not linear, each with the checks that it must fail."""

from support.mutants import mutant
from support.sound import Curve, Response


@mutant("vjp")
class VjpWithoutTheDerivative(Curve):
    def vjp(self, x, v):
        return self.gain.to(x.dtype) * v


@mutant("vjp")
class VjpHasTheOtherSign(Curve):
    def vjp(self, x, v):
        return -super().vjp(x, v)


@mutant("vjp")
class VjpOfAnotherImage(Curve):
    def vjp(self, x, v):
        return super().vjp(x.flip(1) + 0.1, v)


@mutant("shapes")
class CannotBeDifferentiated(Curve):
    def forward(self, x):
        return super().forward(x.detach())

    vjp = Curve.__base__.vjp


@mutant("dtype")
class VjpGivesFloat32(Curve):
    def vjp(self, x, v):
        return super().vjp(x, v).float()


@mutant("purity")
class CurveCountsItsCalls(Curve):
    def vjp(self, x, v):
        object.__setattr__(self, "calls", getattr(self, "calls", 0) + 1)
        return super().vjp(x, v)


@mutant("purity")
class CurveWritesIntoItsArgument(Curve):
    def forward(self, x):
        return super().forward(x.mul_(1.5))

    def initial(self, y, start=None):
        return y

    def vjp(self, x, v):
        return super().vjp(1.5 * x, 1.5 * v)


@mutant("keys")
class CurveDependsOnTheBatchSize(Response):
    def gain(self, keys):
        return super().gain(keys) / len(keys)


@mutant("batch")
class InitialCentresTheBatch(Curve):
    def initial(self, y, start=None):
        return y - y.mean(0)


@mutant("batch")
class VjpSharesTheBatch(Curve):
    def vjp(self, x, v):
        return super().vjp(x, v) if len(x) < 4 else super().vjp(x, v.flip(0))
