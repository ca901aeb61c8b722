"""Conformance of samplers: exact on a Gaussian posterior at the order that they state, and a function of the keys alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from invkit.core.keys import Keys
from invkit.diffusion.samplers import Sampler
from invkit.diffusion.schedules import EdmSchedule
from invkit.testing.algebra import relative
from invkit.testing.contract import global_state, same
from invkit.testing.examples import bases, subjects
from invkit.testing.report import Check, Report, Worst, guarded
from invkit.testing.trials import fixed_random_state

STEPS = (32, 64, 128)
SHAPE = (1, 4, 4)
DRAWS = 1000
ERRORS = 5.5  # standard errors allowed of mean and variance
BIAS = 0.15  # relative error of the variance after the most steps that is allowed besides, and half of it in the mean
SLACK = 0.4  # of a stated order that the measured one may be short of
EXACT = 1e-9  # relative errors below it have no order

LEVELS = EdmSchedule(sigma_min=1e-3, sigma_max=1e3).levels


@dataclass(frozen=True)
class Subject:
    """The settings of a sampler that are checked."""

    samplers: tuple[Sampler, ...]


def _posterior(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Mean and std (C, H, W) of the posterior of unit white noise, measured in each pixel with noise of .02 to 2."""
    noise = torch.logspace(math.log10(0.02), math.log10(2), math.prod(SHAPE), dtype=dtype).view(SHAPE)
    std = noise / (1 + noise**2).sqrt()
    return (torch.arange(math.prod(SHAPE), dtype=dtype) * 2.4).sin().view(SHAPE), std


def denoise(x: Tensor, sigma: float) -> Tensor:
    """The exact denoiser of the Gaussian posterior; at noise level infinity a sample, from a draw of the noise."""
    mean, std = _posterior(x.dtype)
    if math.isinf(sigma):
        return mean + std * x
    return (std**2 * x + sigma**2 * mean) / (std**2 + sigma**2)


def _noise(ids: range, dtype: torch.dtype = torch.float64) -> Callable[[str], Tensor]:
    """A source of noise: a label to a draw for each id (B, C, H, W)."""
    keys = Keys.of(0, "sampler", ids)
    return lambda label: keys.normal(label, *SHAPE).to(dtype)


def _drawn(sampler: Sampler, steps: int, ids: range) -> Tensor:
    """A sample for each id (B, C, H, W)."""
    return sampler(denoise, _noise(ids), LEVELS(steps))


def check_calls(subject: Subject) -> Check:
    """`calls` is the number of network calls, and each label names one draw."""
    worst = Worst(count=1, detail="2 and 7 steps")
    for sampler in subject.samplers:
        for steps in (2, 7):
            labels: list[str] = []
            made: list[float] = []

            def noise(label: str, labels: list[str] = labels) -> Tensor:
                labels.append(label)
                return torch.zeros(1, *SHAPE)

            def counted(x: Tensor, sigma: float, made: list[float] = made) -> Tensor:
                made.append(sigma)
                return denoise(x, sigma)

            sampler(counted, noise, LEVELS(steps))
            if len(made) != sampler.calls(steps):
                worst.fault(f"calls({steps}) is {sampler.calls(steps)}, and {len(made)} were made, {sampler!r}")
            if again := {label for label in labels if labels.count(label) > 1}:
                worst.fault(f"the label {min(again)!r} is used twice, so that its draws are equal, {sampler!r}")
    return worst.check("calls")


def check_shapes(subject: Subject) -> Check:
    """Samples have shape and dtype of the noise and are finite, also where the levels end above zero."""
    worst = Worst(count=1, detail="float32 and float64, levels to zero and above it")
    for sampler in subject.samplers:
        for dtype in (torch.float32, torch.float64):
            levels, x = LEVELS(5), 1e3 * _noise(range(2), dtype)("start")
            for ends in (levels, levels[:-1]):
                found = sampler.walk(denoise, _noise(range(2), dtype), ends, x)
                if found.shape != x.shape or found.dtype != dtype:
                    worst.fault(
                        f"gave {found.dtype} {tuple(found.shape)} for {dtype} {tuple(x.shape)}, levels to {float(ends[-1]):.3g}, "
                        f"{sampler!r}"
                    )
                elif not bool(found.isfinite().all()):
                    worst.fault(f"gave values that are not finite, levels to {float(ends[-1]):.3g}, {sampler!r}")
    return worst.check("shapes")


def check_purity(subject: Subject) -> Check:
    """Equal noise gives the same bits; neither the initial state nor the noise nor a global generator is changed."""
    worst = Worst(count=1, detail="two draws")
    for sampler in subject.samplers:
        before, kept, x = global_state(), dict[str, Tensor](), 1e3 * _noise(range(2))("start")
        fresh, state = _noise(range(2)), x.clone()

        def noise(label: str, kept: dict[str, Tensor] = kept, fresh: Callable[[str], Tensor] = fresh) -> Tensor:
            return kept[label] if label in kept else kept.setdefault(label, fresh(label))

        first = sampler.walk(denoise, noise, LEVELS(5), state)
        originals = _noise(range(2))
        if not torch.equal(x, state) or any(not torch.equal(n, originals(label)) for label, n in kept.items()):
            worst.fault(f"it changes its initial state or the noise, {sampler!r}")
        if not torch.equal(first, sampler.walk(denoise, _noise(range(2)), LEVELS(5), x)):
            worst.fault(f"equal noise gives other samples, {sampler!r}")
        if not same(before, global_state()):
            worst.fault(f"it changes a global generator, {sampler!r}")
    return worst.check("purity")


def check_batch(subject: Subject) -> Check:
    """A sample is the same alone and in a batch."""
    worst = Worst()
    for sampler in subject.samplers:
        whole = _drawn(sampler, 8, range(3))
        for i in range(3):
            alone = _drawn(sampler, 8, range(i, i + 1))
            worst.record(relative(alone - whole[i : i + 1], alone), 1e-9, f"{sampler!r}")
    return worst.check("batch")


def check_posterior(subject: Subject) -> Check:
    """Mean and variance of samples of the Gaussian posterior, after many steps."""
    worst = Worst()
    mean, std = _posterior()
    for sampler in subject.samplers:
        x = _drawn(sampler, STEPS[-1], range(DRAWS))
        shift = ((x.mean(0) - mean).abs() / std - BIAS / 2).clamp(min=0) * DRAWS**0.5
        spread = ((x.var(0) / std**2 - 1).abs() - BIAS).clamp(min=0) * (DRAWS / 2) ** 0.5
        worst.record(float(shift.max()), ERRORS, f"standard errors of the mean, {sampler!r}")
        worst.record(float(spread.max()), ERRORS, f"standard errors of the variance, {sampler!r}")
    return worst.check("posterior")


def _moments(sampler: Sampler, levels: Tensor) -> tuple[Tensor, Tensor] | None:
    """Exact mean and variance of samples (C, H, W) of a sampler whose steps are affine in the noise; None for others."""
    labels: list[str] = []

    def silent(label: str) -> Tensor:
        labels.append(label)
        return torch.zeros(1, *SHAPE, dtype=torch.float64)

    mean = sampler(denoise, silent, levels)

    def unit(label: str) -> Tensor:
        out = torch.zeros(len(labels), *SHAPE, dtype=torch.float64)
        out[labels.index(label)] = 1
        return out

    columns = sampler(denoise, unit, levels) - mean
    keys = Keys.of(1, "affine", [0])
    draws = {label: keys.normal(label, *SHAPE).double() for label in labels}
    predicted = mean + sum(draws[label] * column for label, column in zip(labels, columns, strict=True))
    if relative(sampler(denoise, draws.__getitem__, levels) - predicted, predicted) > 1e-6:
        return None
    return mean[0], columns.square().sum(0)


def check_order(subject: Subject) -> Check:
    """The error of mean and variance falls with the number of steps to the power of `order`."""
    worst, nothing = Worst(), "the sampler states no order"
    mean, std = _posterior()
    for sampler in subject.samplers:
        if sampler.order is None:
            continue
        found = [_moments(sampler, LEVELS(steps)) for steps in STEPS]
        errors = [max(relative(m - mean, mean), relative(v - std**2, std**2)) for m, v in filter(None, found)]
        if len(errors) < len(STEPS):
            nothing = "its steps are not affine in the noise, so that its moments are known from draws alone"
            continue
        rates = [math.log2(a / b) for a, b in pairwise(errors) if b > EXACT]
        rate = min(rates, default=math.inf)
        detail = f"short of order {sampler.order:g}: {rate:.2f} measured, {sampler!r}"
        worst.record(max(0.0, sampler.order - rate), SLACK, detail)
    return worst.check("order", nothing)


CHECKS: dict[str, Callable[[Subject], Check]] = {
    "calls": check_calls,
    "shapes": check_shapes,
    "purity": check_purity,
    "batch": check_batch,
    "posterior": check_posterior,
    "order": check_order,
}


def check_sampler(sampler: Sampler | type[Sampler], name: str | None = None) -> Report:
    """Check a sampler: with settings derived from its fields, or an instance as it is.

    >>> from invkit.diffusion import SAMPLERS
    >>> check_sampler(SAMPLERS["dpmpp-2m"], "dpmpp-2m").passed
    True
    """
    samplers = (sampler,) if isinstance(sampler, Sampler) else tuple(subjects(bases(sampler)))
    with fixed_random_state():
        checks = tuple(guarded(title, check, Subject(samplers)) for title, check in CHECKS.items())
    return Report(name or type(samplers[0]).__name__, checks, "sampler")
