"""The joint table of runs that differ in the seed of their training only, with the seed as a random effect.

The jackknife pseudo-value of seed s and group g is modelled as `mean + a_s + b_g + e_sg`, with independent seeds, groups and
residuals, so the mean over S seeds and G groups has the variance `var(a) / S + var(b) / G + var(e) / (S G)`. The interval of
the mean over seeds (`Bootstrap`) contains the last two terms. The values of the seeds vary by `var(a) + var(e) / G`, whose
interval is Student's t with S - 1 degrees of freedom. The joint interval adds the two half-lengths in squares, each side
for itself (the method of variance estimates recovery, Zou & Donner 2008), which counts the residual twice.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invkit.core.errors import DataError
from invkit.evaluation.bootstrap import Bootstrap
from invkit.evaluation.combine import unique
from invkit.evaluation.results import rounded
from invkit.evaluation.table import Table
from invkit.evaluation.tabulate import jackknife_key

LEAST = 2  # seeds
INTERVAL = (
    "mean over seeds; 95 % interval of two crossed random effects: in squares, the half-length over groups ({groups}) of the mean "
    "over seeds, and Student's t times the standard deviation between seeds over the root of their number"
)
Array = NDArray[np.float64]
Jackknife = Mapping[str, Array]  # `jackknife.npz` of an evaluation


def interval(
    values: Array,  # (S, 1 + G): of each seed on all images, then without each group
    bootstrap: Bootstrap,
) -> tuple[float | None, float | None]:
    """The 95 % interval of the mean over seeds of `values[:, 0]`, for other seeds and other groups.

    (None, None) where the groups give none.
    """
    from scipy.special import stdtrit

    mean = values.mean(0)
    low, high = bootstrap.interval(mean)
    if low is None or high is None:
        return None, None
    seeds = len(values)
    half = stdtrit(seeds - 1, 0.975) * values[:, 0].std(ddof=1) / math.sqrt(seeds)
    return float(mean[0] - math.hypot(mean[0] - low, half)), float(mean[0] + math.hypot(high - mean[0], half))


def joint_table(
    run: str, seeds: Sequence[int], tables: Sequence[Table], jackknives: Sequence[Jackknife]
) -> dict[str, Any]:
    """The joint table of the runs with these seeds, named `run`: `invkit.table/1` with `seeds`, and `sd` in each entry.

    `sd` is the standard deviation between seeds. Rows are not ranked: three seeds do not tell the best of many. Raises
    DataError if the tables differ in their measurements, rows or metrics.
    """
    first = tables[0]
    for seed, table in zip(seeds[1:], tables[1:], strict=True):
        if difference := _different(first, table):
            raise DataError(
                f"{run}: the runs of the seeds {seeds[0]} and {seed} differ in their {difference}; evaluate them alike"
            )
    entries = _Entries(jackknives, first["protocol"]["seed"])
    rows = [
        {
            **row,
            "run": run,
            "metrics": {name: entries.value(row, name, entry) for name, entry in row["metrics"].items()},
        }
        for row in first["rows"]
    ]
    differences = [{**_named(entry), "run": run, **entries.difference(entry)} for entry in first["differences"]]
    protocol = {
        **first["protocol"], "interval": INTERVAL.format(groups=first["protocol"]["interval"]), "seeds": list(seeds),
        "checkpoint": [table["protocol"].get("checkpoint") for table in tables],
    }  # fmt: skip
    note = (
        f"mean of {len(seeds)} trainings, seeds {', '.join(map(str, seeds))}; ( ): standard deviation between them; intervals are "
        "for other seeds and other images"
    )
    return {
        **first, "seeds": list(seeds), "rows": rows, "differences": differences, "best": [], "calibration": [],
        "protocol": protocol, "notes": [note, *unique(tables)],
    }  # fmt: skip


class _Entries:
    """Entries of the joint table from the jackknife values of every seed."""

    def __init__(self, jackknives: Sequence[Jackknife], seed: int) -> None:
        self.jackknives, self.seed = jackknives, seed
        self._bootstraps: dict[int, Bootstrap] = {}

    def _values(self, row: Mapping[str, Any], metric: str) -> Array | None:
        """(S, 1 + G), or (S, 1) for a metric of the whole set; None where a seed has no value."""
        key = jackknife_key(row["degradation"], row, metric)
        found = [jackknife[key] for jackknife in self.jackknives if key in jackknife]
        return np.stack(found) if len(found) == len(self.jackknives) else None

    def value(self, row: Mapping[str, Any], metric: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        values = None if entry["value"] is None else self._values(row, metric)
        if values is None or not np.isfinite(values[:, 0]).all():
            return {
                **entry,
                "value": None,
                "lo": None,
                "hi": None,
                "sd": None,
                "reason": entry.get("reason", "not defined for every seed"),
            }
        return self._entry(values)

    def difference(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        method, readout = entry["against"].rsplit(" ", 1)
        own, other = (
            self._values({**entry, **named}, entry["metric"]) for named in ({}, {"method": method, "readout": readout})
        )
        if own is None or other is None:
            return {"value": None, "lo": None, "hi": None, "sd": None, "reason": "not defined for every seed"}
        return self._entry(own - other)

    def _entry(self, values: Array) -> dict[str, Any]:
        count = values.shape[1] - 1
        if count and count not in self._bootstraps:
            self._bootstraps[count] = Bootstrap.of([str(i) for i in range(count)], self.seed)
        lo, hi = interval(values, self._bootstraps[count]) if count else (None, None)
        return {
            "value": rounded(float(values[:, 0].mean())), "lo": None if lo is None else rounded(lo),
            "hi": None if hi is None else rounded(hi), "sd": rounded(float(values[:, 0].std(ddof=1))),
        }  # fmt: skip


def _named(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a paired difference that say what it is of."""
    return {key: entry[key] for key in ("degradation", "method", "readout", "grid", "against", "metric")}


def _different(first: Table, other: Table) -> str | None:
    for key in ("masks_sha256", "images", "groups", "samples", "noise", "seed"):
        if first["protocol"].get(key) != other["protocol"].get(key):
            return (
                "measurements"
                if key == "masks_sha256"
                else f"number of {key}"
                if key != "seed"
                else "seed of the evaluation"
            )
    named = ("degradation", "method", "readout", "grid", "nfe")
    heads = [[[row[key] for key in named] + list(row["metrics"]) for row in table["rows"]] for table in (first, other)]
    return None if heads[0] == heads[1] else "rows or metrics"
