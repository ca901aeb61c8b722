"""Mathematical checks: linearity, adjoint, gradients, pseudo-inverse."""

import contextlib

import torch
from torch import Tensor

from invkit.physics.operators.base import LinearOperator, Operator
from invkit.testing.report import Check, Worst
from invkit.testing.trials import MAPS, Trial, Trials, act, normal

EXACT = {torch.float64: 1e-12, torch.float32: 1e-5}
PINV = {torch.float64: 1e-10, torch.float32: 1e-4}  # rounding error, if the operator states no `pinv_tolerance`
NOT_LINEAR = "the operator is not linear"
LOOSEST = 0.1  # largest `pinv_tolerance` accepted


def relative(difference: Tensor | float, *scales: Tensor | float) -> float:
    """The norm of a difference relative to the sum of the norms of `scales`; 0/0 is 0."""
    error = float(torch.as_tensor(difference).double().norm())
    scale = sum(float(torch.as_tensor(s).double().norm()) for s in scales)
    return error / scale if scale else (0.0 if error == 0 else float("inf"))


def dot(u: Tensor, v: Tensor) -> float:
    return float((u.double() * v.double()).sum())


def _cases(trials: Trials) -> list[tuple[Trial, torch.dtype, str]]:
    return [(t, dtype, str(dtype)[6:]) for t in trials.linear for dtype in t.dtypes]


def check_linearity(trials: Trials) -> Check:
    """`A(a u + b v) = a A u + b A v`, and likewise for A* and A+."""
    worst = Worst()
    for trial, dtype, kind in _cases(trials):
        for name in MAPS:
            fn = trial.maps[name]
            u, v = trial.argument(name, dtype, 1), trial.argument(name, dtype, 2)
            from_u, from_v = act(fn, u) * 3.0, act(fn, v) * -1.7
            error = relative(act(fn, 3.0 * u - 1.7 * v) - from_u - from_v, from_u, from_v)
            limit = max(PINV[dtype], trial.tolerance) if name == "pinv" else EXACT[dtype]
            worst.record(error, limit, f"{name}, {trial}", kind)
    return worst.check("linearity", NOT_LINEAR)


def check_adjoint(trials: Trials) -> Check:
    """`<A x, y> range_weight = <x, A* y> area`, and `A*` agrees with the adjoint by autograd, if `forward` is differentiable."""
    worst = Worst()
    for trial, dtype, kind in _cases(trials):
        x, y = trial.images(dtype, 3), trial.measurements(dtype, 4)
        ax, aty = trial.linear("forward", x), trial.linear("adjoint", y)
        w, area = trial.operator.range_weight, trial.grid.area
        scale = max(
            w * float(ax.double().norm()) * float(y.double().norm()),
            area * float(x.double().norm()) * float(aty.double().norm()),
        )
        error = relative(w * dot(ax, y) - area * dot(x, aty), scale)
        worst.record(error, EXACT[dtype], f"inner products, {trial}", kind)
        with contextlib.suppress(RuntimeError):  # errors of autograd are reported by check_gradients
            transposed = vjp(trial, x, y)
            if transposed is None or _consistent(trial, transposed, y, dtype) > EXACT[dtype]:
                continue
            worst.record(relative(aty - transposed * (w / area), aty), EXACT[dtype], f"against autograd, {trial}", kind)
    return worst.check("adjoint", NOT_LINEAR)


def check_gradients(trials: Trials) -> Check:
    """Autograd passes through `forward`, and `<J^T y, v> = <y, A v>`."""
    worst = Worst()
    for trial, dtype, kind in _cases(trials):
        x, y = trial.images(dtype, 3), trial.measurements(dtype, 4)
        transposed = vjp(trial, x, y)
        if transposed is None:
            worst.fault(f"no gradient flows through forward, {kind}, {trial}")
        else:
            worst.record(_consistent(trial, transposed, y, dtype), EXACT[dtype], str(trial), kind)
    return worst.check("gradients", NOT_LINEAR)


STEP = 1e-5  # of the central difference, in pixel units
DIFFERENCES = (
    1e-5  # relative error allowed; where `forward` has a kink, the difference is wrong, which a median ignores
)


def check_vjp(trials: Trials) -> Check:
    """For operators that are not linear: `<J^T v, u> = <v, (A(x + h u) - A(x - h u)) / 2h>`, and J^T is that of autograd."""
    worst = Worst()
    for trial in (t for t in trials.usable if not isinstance(t.operator, LinearOperator) and torch.float64 in t.dtypes):
        operator, x, v = trial.operator, trial.images(torch.float64, 3) / 2, trial.measurements(torch.float64, 4)
        own, errors = act(lambda x, op=operator, v=v: op.vjp(x, v), x), []  # type: ignore[misc]
        for k in range(3):
            u = normal(x.shape, torch.float64, 1000 * trial.seed + 60 + k)
            ahead, behind = act(operator.forward, x + STEP * u), act(operator.forward, x - STEP * u)
            change = (ahead - behind) / (2 * STEP)
            scale = float(change.norm()) * float(v.norm())
            errors.append(relative(dot(own, u) - dot(v, change), scale))
        worst.record(sorted(errors)[1], DIFFERENCES, f"finite differences, {trial}", "float64")
        with contextlib.suppress(RuntimeError):  # of a forward without gradients
            by_autograd = act(lambda x, op=operator, v=v: Operator.vjp(op, x, v), x)  # type: ignore[misc]
            worst.record(
                relative(own - by_autograd, by_autograd), EXACT[torch.float64], f"autograd, {trial}", "float64"
            )
    return worst.check("vjp", "the operator is linear")


def vjp(trial: Trial, x: Tensor, y: Tensor) -> Tensor | None:
    """`J^T y` of forward at `x` by autograd; None if no gradient flows."""
    leaf = x.clone().requires_grad_()
    with torch.enable_grad():
        out = act(trial.operator.forward, leaf)
        if not out.requires_grad:
            return None
        (gradient,) = torch.autograd.grad(out, leaf, y, allow_unused=True)
    return gradient


def _consistent(trial: Trial, transposed: Tensor, y: Tensor, dtype: torch.dtype) -> float:
    v = trial.images(dtype, 5)
    av = trial.linear("forward", v)
    scale = max(
        float(av.double().norm()) * float(y.double().norm()),
        float(v.double().norm()) * float(transposed.double().norm()),
    )
    return relative(dot(transposed, v) - dot(y, av), scale)


def check_pinv(trials: Trials) -> Check:
    """The four Penrose conditions: A A+ A = A, A+ A A+ = A+, and A A+ and A+ A are self-adjoint."""
    worst = Worst()
    for trial, dtype, kind in _cases(trials):
        if trial.tolerance > LOOSEST:
            worst.fault(f"pinv_tolerance {trial.tolerance:g} is looser than {LOOSEST:g}, {trial}")
            continue
        limit = max(PINV[dtype], trial.tolerance)
        for condition, error in penrose(trial, dtype).items():
            worst.record(error, limit, f"{condition}, {trial}", kind)
    return worst.check("pinv", NOT_LINEAR)


def penrose(trial: Trial, dtype: torch.dtype) -> dict[str, float]:
    """Relative errors of the four Penrose conditions on random arguments.

    All values have the same weight, and all pixels, so that the weights cancel in the conditions on self-adjointness.
    """

    def a(x: Tensor) -> Tensor:
        return trial.linear("forward", x)

    def p(y: Tensor) -> Tensor:
        return trial.linear("pinv", y)

    x, z = trial.images(dtype, 6), trial.images(dtype, 7)
    y, v = trial.measurements(dtype, 8), trial.measurements(dtype, 9)
    ax, py = a(x), p(y)
    pax, apy = p(ax), a(py)
    paz, apv = p(a(z)), a(p(v))
    return {
        "A A+ A = A": relative(a(pax) - ax, ax),
        "A+ A A+ = A+": relative(p(apy) - py, py),
        "A A+ self-adjoint": relative(dot(apy, v) - dot(y, apv), float(apy.norm()) * float(v.norm())),
        "A+ A self-adjoint": relative(dot(pax, z) - dot(x, paz), float(pax.norm()) * float(z.norm())),
    }
