"""Data sets, methods and metrics: what ships passes every check; each mutant is caught by the check meant for it."""

import pytest
import torch

from invkit.core.errors import RecipeError
from invkit.data.gaussian_fields import FieldDraws, Fields
from invkit.evaluation.metrics.base import Metric
from invkit.plugins.loader import registry
from invkit.reconstructors.base import PointEstimate
from invkit.testing import check_dataset, check_method, check_metric, datasets, methods, metrics

SETTINGS = {
    "images",
    "repaint",
    "ddnm",
    "ddrm",
    "dps",
    "pigdm",
    "mmps",
    "diffpir",
    "daps",
    "tds",
    "pnp-hqs",
    "red-diff",
}  # need a folder, or a prior
SLOW = {"tv", "ssim"}
CHECK = {"dataset": check_dataset, "method": check_method, "metric": check_metric}
SHIPPED = [
    pytest.param(kind, name, marks=pytest.mark.slow if name in SLOW else ())
    for kind in CHECK
    for name in sorted(registry().names(kind))
    if name not in SETTINGS
]


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_what_ships_passes(kind, name):
    report = CHECK[kind](registry().get(kind, name), name)
    assert report.passed, report
    assert [check.skipped for check in report.checks] == [
        name in ("cifar10", "c2st", "lpips", "fid", "kid", "component_weights")
    ] * len(report.checks)


class Error(Metric):
    """Mean absolute error, which mutants spoil."""

    def components(self, outcome):
        values = (outcome.estimate - outcome.truth).abs().mean((1, 2, 3))
        return {"sum": values, "count": torch.ones_like(values)}


class OneNumber(Error):
    def components(self, outcome):
        return {name: values.mean() for name, values in super().components(outcome).items()}


class Pooled(Error):
    def reduce(self, means):
        return (means["sum"] / means["count"]).mean(keepdims=True)


class Random(Error):
    def components(self, outcome):
        return {name: values + torch.rand(()) for name, values in super().components(outcome).items()}


class Overwrites(Error):
    def components(self, outcome):
        found = super().components(outcome)
        outcome.truth[...] = outcome.truth.roll(1, 0)
        return found


class Centred(Error):
    def components(self, outcome):
        found = super().components(outcome)
        return {**found, "sum": found["sum"] - found["sum"].mean()}


class Raises(Error):
    def components(self, outcome):
        raise TypeError("oh")


class Zero(PointEstimate):
    name, readouts = "zero", ("point",)

    def mean(self, measurement):
        return torch.zeros(len(measurement), *measurement.grid.picture)


class Both(Zero):
    readouts = ("point", "sample")

    def sample(self, measurement, keys, count):
        return keys.normal("s", *measurement.grid.picture).expand(count, -1, -1, -1, -1)


class Grey(Zero):
    def mean(self, measurement):
        return super().mean(measurement)[:, :1]


class Noisy(Zero):
    def mean(self, measurement):
        return torch.randn(len(measurement), *measurement.grid.picture)


class Mixed(Zero):
    def mean(self, measurement):
        return measurement.operator.pinv(measurement.y).mean(0, keepdim=True).expand(len(measurement), -1, -1, -1)


class Unsound(FieldDraws):
    def __getitem__(self, ids):
        return self.spoil(super().__getitem__(ids))

    def spoil(self, x):
        return x


class Draws(Fields):
    def open(self, split, grid, seed, limit=None):
        return Unsound(self.field, split, grid, seed, min(self.test_size, limit or self.test_size))


def spoilt(**methods):
    """A data set whose images have other methods."""
    images = type("Spoilt", (Unsound,), methods)

    class Spoilt(Draws):
        def open(self, split, grid, seed, limit=None):
            return images(
                self.field, methods.get("split", split), grid, seed, min(self.test_size, limit or self.test_size)
            )

    return Spoilt


MUTANTS = [
    (check_metric, OneNumber, "components"), (check_metric, Raises, "components"), (check_metric, Pooled, "value"),
    (check_metric, Random, "purity"), (check_metric, Overwrites, "purity"), (check_metric, Centred, "batch"),
    (check_method, Both, "interface"), (check_method, Grey, "shapes"), (check_method, Noisy, "purity"),
    (check_method, Mixed, "batch"),
    (check_dataset, spoilt(spoil=lambda self, x: x.double()), "images"),
    (check_dataset, spoilt(spoil=lambda self, x: x + torch.rand(())), "purity"),
    (check_dataset, spoilt(split="train"), "splits"),
    (check_dataset, spoilt(group=lambda self, i: f"{self.grid}"), "groups"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "mutant", "caught_by"), MUTANTS, ids=lambda value: getattr(value, "__name__", value))
def test_a_mutant_is_caught_by_what_is_meant_for_it(check, mutant, caught_by):
    report = check(mutant)
    assert caught_by in report.failed, report


@pytest.mark.parametrize(("check", "sound"), [(check_metric, Error), (check_method, Zero), (check_dataset, Draws)])
def test_without_the_mutation_it_passes(check, sound):
    report = check(sound)
    assert report.passed and not any(one.skipped for one in report.checks), report


def test_every_check_has_a_mutant():
    expected = [*metrics.CHECKS, *methods.CHECKS, *datasets.CHECKS]
    assert {caught_by for _, _, caught_by in MUTANTS} == set(expected)


def test_the_name_of_a_reconstructor_is_that_of_the_recipe():
    assert check_method(Zero, "zero").passed and check_method(Zero, "nought").failed == ("interface",)


class Demanding(Zero):
    def build(self, sources):
        raise RecipeError("needs 100 priors")


def test_a_method_that_lacks_something_is_skipped_with_the_reason():
    report = check_method(Demanding)
    assert [str(check).split(None, 1)[1] for check in report.checks] == ["skipped        -        -  needs 100 priors"]
