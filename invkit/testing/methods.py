"""Conformance of methods: point estimates, means and samples for masks and for noisy images."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from invkit.core.errors import RecipeError, Unavailable, first_line
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Dataset, Images
from invkit.data.gaussian_fields import Fields
from invkit.diffusion import Sample
from invkit.diffusion.model import ConditionalModel
from invkit.diffusion.networks import NETWORKS
from invkit.diffusion.settings import Diffusion
from invkit.physics.measurement import Measurement, Noise
from invkit.reconstructors.base import Method, Reconstructor, Sources
from invkit.testing.algebra import relative
from invkit.testing.contract import global_state, same, snapshot
from invkit.testing.examples import Lines, bases
from invkit.testing.metrics import IMAGES, measurements
from invkit.testing.report import Check, Report, Worst, guarded
from invkit.training.initialise import build_model
from invkit.training.problem import Problem

GRIDS = (Grid(16, 16), Grid(12, 20))
SAMPLES = 3
ALONE = 1e-2  # relative difference of an image's result alone and in a batch; iterations may end together
READOUTS = ("point", "mean", "sample")


@lru_cache(maxsize=1)
def sources() -> Sources:
    """As `sources_of`, for images of a Gaussian field."""
    return sources_of(Fields(), GRIDS)


def sources_of(data: Dataset, grids: tuple[Grid, ...]) -> Sources:
    """What `Method.build` may ask for: training images of a data set, and a small model without training."""
    images = {grid: data.open("train", grid, 0, 64) for grid in grids}
    network = NETWORKS["fno-unet"].model_validate(
        {"channels": 8, "mult": (1,), "blocks": 1, "modes": 2, "embedding": 8}
    )
    model = build_model(Problem(images, Lines(), Noise(), 0), network, Diffusion(), "float32", torch.device("cpu"), 64)

    def training(grid: Grid, limit: int) -> Images:
        return data.open("train", grid, 0, min(limit, 64))

    priors: dict[str, ConditionalModel] = defaultdict(lambda: model)
    return Sources(model.eval(), Sample(steps=2), data.law(), priors, training, grids)


@dataclass(frozen=True, eq=False)
class Trial:
    """A reconstructor, and the measurements that it supports, with the reason why it does not support others."""

    name: str
    built: Reconstructor
    supported: list[Measurement]
    reason: str

    def results(self, measurement: Measurement, ids: range) -> Iterator[tuple[str, Tensor]]:
        """The result of each estimator, (B, C, H, W), or (K, B, C, H, W) for samples."""
        for readout in self.built.readouts:
            if readout == "sample":
                yield readout, self.built.sample(measurement, Keys.of(2, "conformance", ids), SAMPLES)
            else:
                yield readout, self.built.mean(measurement)


def _about(measurement: Measurement) -> str:
    return f"{'no mask' if measurement.observed is None else 'mask'}, {measurement.grid}x{measurement.grid.channels}"


def check_interface(trial: Trial) -> Check:
    """The name is that of the recipe, the estimators are known, and network calls are counted."""
    worst, built = Worst(count=1, detail=", ".join(trial.built.readouts)), trial.built
    if trial.name and built.name != trial.name:
        worst.fault(f"the reconstructor has the name {built.name!r}; it must be {trial.name!r}")
    if (
        not built.readouts
        or set(built.readouts) - set(READOUTS)
        or ("point" in built.readouts and len(built.readouts) > 1)
    ):
        worst.fault(f'readouts {built.readouts!r}: give ("point",), or one or both of "mean" and "sample"')
    for readout in built.readouts:
        if not isinstance(calls := built.nfe(readout), int) or calls < 0:
            worst.fault(f"nfe({readout!r}) is {calls!r}, expected an integer")
    return worst.check("interface")


def check_shapes(trial: Trial) -> Check:
    """Results have the shape of the images and are finite."""
    worst = Worst()
    for measurement in trial.supported:
        images = (IMAGES, *measurement.grid.picture)
        for readout, result in trial.results(measurement, range(IMAGES)):
            worst.record(0, 0, f"{len(trial.supported)} measurements")
            expected = (SAMPLES, *images) if readout == "sample" else images
            if tuple(result.shape) != expected:
                worst.fault(f"{readout} has shape {tuple(result.shape)}, expected {expected} ({_about(measurement)})")
            elif not result.is_floating_point() or not bool(result.isfinite().all()):
                worst.fault(f"{readout} is not finite and real ({_about(measurement)})")
    return worst.check("shapes", trial.reason)


def check_purity(trial: Trial) -> Check:
    """Nothing is changed, and the same measurement and keys give the same bits."""
    worst = Worst()
    for measurement in trial.supported:
        before = snapshot(measurement), global_state()
        first = list(trial.results(measurement, range(IMAGES)))
        after = snapshot(measurement), global_state()
        for what, old, new in zip(("the measurement", "a global generator"), before, after, strict=True):
            if not same(old, new):
                worst.fault(f"it changes {what} ({_about(measurement)})")
        for (readout, result), (_, again) in zip(first, trial.results(measurement, range(IMAGES)), strict=True):
            worst.record(0, 0, f"{len(trial.supported)} measurements")
            if not torch.equal(result, again):
                worst.fault(f"{readout} gives a different result when repeated ({_about(measurement)})")
    return worst.check("purity", trial.reason)


def check_batch(trial: Trial) -> Check:
    """The result of an image, with its samples, does not depend on the other images of its batch."""
    worst = Worst()
    for measurement in trial.supported:
        whole = trial.results(measurement, range(IMAGES))
        alone = trial.results(measurement[2:3], range(2, 3))
        for (readout, result), (_, one) in zip(whole, alone, strict=True):
            expected = result[:, 2:3] if readout == "sample" else result[2:3]
            error = relative(one - expected, expected) if one.shape == expected.shape else float("inf")
            worst.record(error, ALONE, f"{readout}, {_about(measurement)}")
    return worst.check("batch", trial.reason)


CHECKS: dict[str, Callable[[Trial], Check]] = {
    "interface": check_interface, "shapes": check_shapes, "purity": check_purity, "batch": check_batch,
}  # fmt: skip


def _trial(built: Reconstructor, name: str) -> Trial:
    trial = Trial(name, built, [], "")
    for _, measurement in (pair for grid in GRIDS for pair in measurements(grid)):
        try:
            list(trial.results(measurement[:1], range(1)))
            trial.supported.append(measurement)
        except Unavailable as why:
            trial = replace(trial, reason=str(why))
    return trial


def check_method(method: Method | type[Method], name: str = "") -> Report:
    """Check a method, or its class with default settings, on masks without noise and noisy images.

    >>> from invkit.reconstructors import METHODS
    >>> check_method(METHODS["nearest"], "nearest").passed
    True
    """
    method = method if isinstance(method, Method) else bases(method)[0]
    title = name or type(method).__name__
    try:
        trial = _trial(method.build(sources()), name)
    except RecipeError as error:
        return Report(title, (Check("interface", True, None, None, str(error)),), Method.kind)
    except Exception as error:
        detail = f"raised {type(error).__name__}: {first_line(error)}"
        return Report(title, (Check("interface", False, None, None, detail),), Method.kind)
    return Report(title, tuple(guarded(key, check, trial) for key, check in CHECKS.items()), Method.kind)
