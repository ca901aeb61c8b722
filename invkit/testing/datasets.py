"""Conformance of data sets: images of a split on a grid, by id."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from invkit.core.errors import DataError, first_line
from invkit.core.grid import Grid
from invkit.data.base import Dataset, Images, Split
from invkit.testing.contract import global_state, same, snapshot
from invkit.testing.examples import bases
from invkit.testing.report import Check, Report, Worst, guarded

SIZES = ((16, 16), (12, 20))
SPLITS: tuple[Split, ...] = ("train", "test")
SHOWN = 6  # images read of each split


@dataclass(frozen=True, eq=False)
class Trial:
    """A data set, and its images, by split and size of the grid, as opened with seed 0."""

    data: Dataset
    opened: dict[tuple[Split, Grid], Images]

    def ids(self, images: Images) -> list[int]:
        return list(range(min(SHOWN, len(images))))


def check_images(trial: Trial) -> Check:
    """Each split has images of the requested grid: (B, C, H, W) float32, finite, with the data set's channels."""
    worst = Worst(
        count=1, detail=", ".join(f"{split} {grid}: {len(images)}" for (split, grid), images in trial.opened.items())
    )
    for (split, grid), images in trial.opened.items():
        where, ids = f"{split}, {grid}", trial.ids(images)
        if images.grid != grid:
            worst.fault(f"opened on {grid!r}, the images have the grid {images.grid!r} ({split})")
        if not ids:
            worst.fault(f"the split is empty ({where})")
            continue
        x = images[ids]
        if not isinstance(x, Tensor) or tuple(x.shape) != (len(ids), *grid.picture) or x.dtype != torch.float32:
            found = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            worst.fault(f"the images are {found}, expected torch.float32 {(len(ids), *grid.picture)} ({where})")
        elif not bool(x.isfinite().all()):
            worst.fault(f"the images are not finite ({where})")
        elif float(x.abs().max()) > 1 and trial.data.law() is None:
            worst.fault(f"the images have values of {float(x.abs().max()):.3g}, expected [-1, 1] ({where})")
    return worst.check("images")


def check_purity(trial: Trial) -> Check:
    """An image depends on its id alone: not on the batch, on what was read before, or on global generators."""
    worst = Worst(count=1, detail=f"{len(trial.opened)} splits and grids")
    for (split, grid), images in trial.opened.items():
        where, ids = f"{split}, {grid}", trial.ids(images)
        before = global_state()
        x = snapshot(images[ids])
        reordered = images[ids[::-1]].flip(0)
        again = trial.data.open(split, grid, 0)[ids]
        if not same(before, global_state()):
            worst.fault(f"reading changes a global generator ({where})")
        for what, other in (("in another order", reordered), ("opened again", again), ("alone", images[ids[-1:]])):
            if not torch.equal(x[-1:] if what == "alone" else x, other):
                worst.fault(f"other images when read {what} ({where})")
    return worst.check("purity")


def check_splits(trial: Trial) -> Check:
    """No test image is among the training images that are compared, and a limit gives the first images of a split."""
    worst = Worst(count=1, detail=f"the first {SHOWN} images of each split")
    for grid in {grid for _, grid in trial.opened}:
        train, test = (images[trial.ids(images)] for images in (trial.opened[split, grid] for split in SPLITS))
        common = sum(bool((x == train).flatten(1).all(1).any()) for x in test)
        if common:
            worst.fault(f"{common} of the first {len(test)} test images are also training images ({grid})")
        for split in SPLITS:
            few = trial.data.open(split, grid, 0, 2)
            if len(few) > len(trial.opened[split, grid]) or not torch.equal(few[[0]], trial.opened[split, grid][[0]]):
                worst.fault(f"with a limit of 2, the first image of {split} is another one ({grid})")
    return worst.check("splits")


def check_groups(trial: Trial) -> Check:
    """Every image has the name of what it was cut from, the same on every grid."""
    worst = Worst(count=1, detail="names of the first images")
    for split in SPLITS:
        names = [
            [images.group(i) for i in trial.ids(images)] for (of, _), images in trial.opened.items() if of == split
        ]
        if not all(isinstance(name, str) and name for one in names for name in one):
            worst.fault(f"group gives {names[0]!r}, expected names ({split})")
        elif any(one != names[0] for one in names):
            worst.fault(f"the groups differ between grids ({split})")
    return worst.check("groups")


CHECKS: dict[str, Callable[[Trial], Check]] = {
    "images": check_images, "purity": check_purity, "splits": check_splits, "groups": check_groups,
}  # fmt: skip


def check_dataset(data: Dataset | type[Dataset], name: str = "") -> Report:
    """Check a data set, or its class with default settings; all checks are skipped if its data are missing.

    >>> from invkit.data.gaussian_fields import Fields
    >>> check_dataset(Fields).passed
    True
    """
    data = data if isinstance(data, Dataset) else bases(data)[0]
    title = name or type(data).__name__
    if missing := data.missing():
        return Report(title, tuple(Check(key, True, None, None, missing) for key in CHECKS), Dataset.kind)
    try:
        grids = [Grid(*size, data.channels) for size in SIZES]
        trial = Trial(data, {(split, grid): data.open(split, grid, 0) for split in SPLITS for grid in grids})
    except DataError:
        raise
    except Exception as error:
        detail = f"open raised {type(error).__name__}: {first_line(error)}"
        return Report(title, (Check("images", False, None, None, detail),), Dataset.kind)
    return Report(title, tuple(guarded(key, check, trial) for key, check in CHECKS.items()), Dataset.kind)
