"""Which metric shows which fault of posterior samples.

Makes the table of docs/reference/metrics.md and the picture of docs/explanation/uncertainty.md.

    PYTHONPATH=tests python tests/benchmarks/posterior_faults.py [docs/explanation/uncertainty.png]

Half a minute on one core.
"""

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from support.metrics import value
from support.posteriors import MUTANTS, draws, spoiled

from invkit.evaluation.bootstrap import Bootstrap
from invkit.evaluation.metrics import Outcome, named
from invkit.evaluation.ranks import rank_counts, rank_entries

IMAGES, SAMPLES = 400, 19
COLUMNS = (
    "crps", "crps@all", "spread_skill", "spread_skill@4", "spread_skill@all", "coverage_90", "coverage_90@4",
    "coverage_90@all", "mean_shift", "variogram_score", "spectral_error",
)  # fmt: skip
SHOWN = 1  # image of the picture
DRAWN = {"block 1": "pixels", "block 4": "4x4", "block all": "image"}


def cases() -> dict[str, Outcome]:
    """Exact samples and each fault, with samples of the exact posterior for comparison."""
    found = {}
    for modes in (False, True):
        both = draws(0, IMAGES, samples=2 * SAMPLES, modes=modes)
        samples = both.outcome.samples
        outcome = replace(both.outcome, samples=samples[:SAMPLES], exact=samples[SAMPLES:])
        exact = replace(both, outcome=outcome, others=both.others[:SAMPLES])
        found["exact, two modes" if modes else "exact"] = outcome
        found |= {name: spoiled(exact, name) for name in MUTANTS if (name == "mode dropped") == modes}
    return found


def c2st(outcome: Outcome) -> float:
    metric = named("c2st")
    return metric.of_set({name: part.numpy() for name, part in metric.components(outcome).items()})


def ranks(outcome: Outcome) -> dict:
    counts = {name: part.numpy() for name, part in rank_counts(outcome).items()}
    return rank_entries(counts, Bootstrap.of([str(i) for i in range(IMAGES)], seed=0))


def draw(found: dict[str, Outcome], path: Path) -> None:
    """A row for each case: truth, three samples, their standard deviation, and rank histograms."""
    figure = Figure(figsize=(8.4, 1.32 * len(found)), dpi=80, layout="constrained")
    axes = figure.subplots(len(found), 6, width_ratios=[1, 1, 1, 1, 1, 1.9])
    for line, (name, outcome) in zip(axes, found.items(), strict=True):
        images = [outcome.truth, *outcome.samples[:3], outcome.samples.std(0)]
        for i, (place, image) in enumerate(zip(line, images, strict=False)):
            limits = (
                {"vmin": 0, "vmax": 0.8, "cmap": "magma"} if i == 4 else {"vmin": -1.5, "vmax": 1.5, "cmap": "gray"}
            )
            place.imshow(image[SHOWN, 0], **limits)
            place.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=9)
        for one in ranks(outcome)["ranks"]:
            if one["of"] in DRAWN:
                places = (np.arange(len(one["density"])) + 0.5) / len(one["density"])
                line[5].plot(places, one["density"], drawstyle="steps-mid", lw=1, label=DRAWN[one["of"]])
        line[5].axhline(1, color="0.6", lw=0.8, ls="--", zorder=0)
        line[5].set(xlim=(0, 1), ylim=(0, 3), xticks=[0, 1], yticks=[0, 1, 2, 3])
        line[5].tick_params(labelsize=7)
        line[5].spines[["top", "right"]].set_visible(False)
    for place, title in zip(
        axes[0], ("truth", "sample 1", "sample 2", "sample 3", "std", "ranks of the truth"), strict=True
    ):
        place.set_title(title, fontsize=9)
    axes[0, 5].legend(frameon=False, fontsize=7, ncol=3, loc="upper center")
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    Image.open(data).convert("RGB").quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    found = cases()
    print(" | ".join(["metric", *found]))
    for name in COLUMNS:
        print(" | ".join([name, *(f"{value(named(name), outcome):.4f}" for outcome in found.values())]))
    print(" | ".join(["c2st", *(f"{c2st(outcome):.3f}" for outcome in found.values())]))
    print(" | ".join(["p of uniform ranks", *(f"{ranks(outcome)['p']:.4f}" for outcome in found.values())]))
    for path in sys.argv[1:]:
        draw(found, Path(path))
