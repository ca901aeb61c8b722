"""Conformance of noise laws: samples, variance and likelihood belong together, and depend on the keys alone."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.core.keys import Keys
from invkit.physics.noise import Law, NoiseLaw
from invkit.testing.contract import global_state, same, snapshot
from invkit.testing.examples import bases, subjects
from invkit.testing.report import Check, Report, Worst, guarded
from invkit.testing.trials import fixed_random_state

DRAWS = 40_000
QUARTERS = 4  # of [-1, 1]: noiseless values are uniform in each
ERRORS = 5.5  # standard errors allowed
APART = 0.2  # of two noiseless values whose likelihoods are compared, in standard deviations of the noise


@dataclass(frozen=True)
class Subject:
    """The settings of a law that are checked."""

    laws: tuple[NoiseLaw, ...]


def _drawn(law: NoiseLaw, count: int = DRAWS) -> tuple[Law, Tensor, Tensor]:
    """The noise of `count` images, their noiseless values (count, QUARTERS), one in each quarter of [-1, 1], and measured ones."""
    keys = Keys.of(0, "noise", range(count))
    clean = (keys.uniform("clean", QUARTERS).double() + torch.arange(QUARTERS)) * (2 / QUARTERS) - 1
    return law.drawn(keys), clean, law.sample(keys[:], clean)


def check_shapes(subject: Subject) -> Check:
    """Samples, likelihood and variance have the shape and dtype of the noiseless values, and are finite."""
    worst = Worst(count=1, detail="float32 and float64, vectors and images")
    for law in subject.laws:
        for dtype in (torch.float32, torch.float64):
            clean = torch.linspace(-0.9, 0.9, 24, dtype=dtype).view(2, 3, 2, 2)
            y = law.sample(Keys.of(0, "shapes", range(2)), clean)
            found = {"sample": y, "log_likelihood": law.log_likelihood(y, clean), "variance": law.variance(clean)}
            for name, value in found.items():
                if value.shape != clean.shape or value.dtype != dtype:
                    worst.fault(
                        f"{name} gave {value.dtype} {tuple(value.shape)} for {dtype} {tuple(clean.shape)}, {law!r}"
                    )
                elif not bool(value.isfinite().all()):
                    worst.fault(f"{name} gave values that are not finite, {law!r}")
    return worst.check("shapes")


def check_purity(subject: Subject) -> Check:
    """Equal keys give the same bits; no argument and no global generator is changed."""
    worst = Worst(count=1, detail="two draws")
    for law in subject.laws:
        before, clean = global_state(), torch.linspace(-0.8, 0.8, 5).expand(3, -1).clone()
        original, first = clean.clone(), law.sample(Keys.of(0, "purity", range(3)), clean)
        again = law.sample(Keys.of(0, "purity", range(3)), clean)
        if not same(snapshot(first), snapshot(again)):
            worst.fault(f"equal keys give other values, {law!r}")
        if not torch.equal(clean, original) or not same(before, global_state()):
            worst.fault(f"sample changes its argument or a global generator, {law!r}")
    return worst.check("purity")


def check_batch(subject: Subject) -> Check:
    """The values of an image are the same alone and in a batch."""
    worst = Worst(count=1, detail="4 images, one by one")
    for law in subject.laws:
        _, clean, y = _drawn(law, 4)
        for i in range(4):
            if not torch.equal(law.sample(Keys.of(0, "noise", [i]), clean[i : i + 1]), y[i : i + 1]):
                worst.fault(f"image {i} of a batch has other noise alone, {law!r}")
    return worst.check("batch")


def check_variance(subject: Subject) -> Check:
    """The mean squared difference of samples from their noiseless values is the variance, in each quarter of [-1, 1]."""
    worst = Worst()
    for law in subject.laws:
        each, clean, y = _drawn(law)
        squares = (y - clean).square()
        error = (squares - each.variance(clean)).mean(0).abs() / (squares.std(0) / DRAWS**0.5).clamp(min=1e-12)
        worst.record(float(error.max()), ERRORS, f"standard errors, {law!r}")
    return worst.check("variance")


def check_likelihood(subject: Subject) -> Check:
    """`E[p(y | b) / p(y | a)] = 1` for samples y at a noiseless value a, and any b: samples have the density that is stated."""
    worst = Worst()
    for law in subject.laws:
        if not law.smooth:
            continue
        each, clean, y = _drawn(law)
        for side in (-APART, APART):
            other = clean + side * each.variance(clean).sqrt()
            ratio = (each.log_likelihood(y, other) - each.log_likelihood(y, clean)).exp()
            error = (ratio.mean(0) - 1).abs() / (ratio.std(0) / DRAWS**0.5).clamp(min=1e-12)
            worst.record(float(error.max()), ERRORS, f"standard errors, {law!r}")
    return worst.check("likelihood", "the likelihood has no gradient")


CHECKS: dict[str, Callable[[Subject], Check]] = {
    "shapes": check_shapes,
    "purity": check_purity,
    "batch": check_batch,
    "variance": check_variance,
    "likelihood": check_likelihood,
}


def check_noise(noise: NoiseLaw | type[NoiseLaw], name: str | None = None) -> Report:
    """Check a noise law: with settings derived from its fields, or an instance as it is.

    >>> from invkit.physics.noise import Noise
    >>> check_noise(Noise(sigma=0.1)).passed
    True
    """
    laws = (noise,) if isinstance(noise, NoiseLaw) else tuple(subjects(bases(noise)))
    with fixed_random_state():
        checks = tuple(guarded(title, check, Subject(laws)) for title, check in CHECKS.items())
    return Report(name or type(laws[0]).__name__, checks, "noise")
