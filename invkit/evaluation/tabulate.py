"""Converts scores to table entries with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invkit.core.errors import blamed
from invkit.core.grid import Grid
from invkit.evaluation.bootstrap import Bootstrap
from invkit.evaluation.conformal import calibrate
from invkit.evaluation.metrics import Unavailable
from invkit.evaluation.metrics.base import Readout
from invkit.evaluation.protocol import Protocol
from invkit.evaluation.ranks import RANKS, rank_entries
from invkit.evaluation.results import MethodScores, rounded, rounded_tree
from invkit.evaluation.risk import control
from invkit.evaluation.spread_skill import LOSSES, SCORE, SPREAD, binned_errors


def jackknife_key(degradation: str, row: Mapping[str, Any], metric: str) -> str:
    """The name of the values of a metric of a row of the table in `jackknife.npz`."""
    return "/".join((degradation, "x".join(map(str, row["grid"])), row["method"], row["readout"], metric))


class Tabulator:
    """Computes the table entries of one grid, with intervals by the same resamples for all rows."""

    def __init__(self, scores: Sequence[MethodScores], bootstrap: Bootstrap, protocol: Protocol, grid: Grid) -> None:
        self.scores, self.bootstrap, self.run, self.grid = scores, bootstrap, protocol.run, grid
        self.metrics, self.seed = protocol.metrics, protocol.seed
        self.samples, self.paired_to = protocol.settings.samples, protocol.settings.paired_to
        self.alpha, self.delta = protocol.settings.alpha, protocol.settings.delta
        self.values = [self._values(row) for row in scores]

    def _values(self, row: MethodScores) -> dict[str, NDArray[np.float64]]:
        """By metric, the value on all images, and without each group. If undefined, the reason is added to `row.reasons`."""
        found = {}
        for name, metric in self.metrics.items():
            if (parts := row.values(name)) is not None:
                try:
                    with blamed(f"the metric {name!r}, {row.readout},", metric):
                        found[name] = self.bootstrap.values(metric, parts)
                except Unavailable as why:
                    row.reasons[name] = str(why)
        return found

    def head(self, row: MethodScores) -> dict[str, Any]:
        """The keys that identify a row, and its numbers of network calls and samples."""
        samples = self.samples if row.readout == "sample" else 0
        return {
            "method": row.method.name, "readout": row.readout, "grid": list(self.grid.shape),
            "nfe": row.method.nfe(row.readout), "samples": samples,
        }  # fmt: skip

    def _entry(self, values: NDArray[np.float64] | None, reason: str | None) -> dict[str, Any]:
        if values is None or not np.isfinite(values[0]):
            return {"value": None, "lo": None, "hi": None, "reason": reason or "not defined for these images"}
        lo, hi = (None if end is None else rounded(end) for end in self.bootstrap.interval(values))
        return {"value": rounded(float(values[0])), "lo": lo, "hi": hi}

    def rows(self) -> list[dict[str, Any]]:
        return [
            self.head(row)
            | {"metrics": {name: self._entry(values.get(name), row.reasons.get(name)) for name in self.metrics}}
            for row, values in zip(self.scores, self.values, strict=True)
        ]

    def jackknife(self, degradation: str) -> dict[str, NDArray[np.float64]]:
        """Every value, first on all images, then without each group: (1 + G,), or (1,) for a metric of the whole set."""
        return {
            jackknife_key(degradation, self.head(row), name): values
            for row, own in zip(self.scores, self.values, strict=True)
            for name, values in own.items()
        }

    def differences(self) -> list[dict[str, Any]]:
        """Paired differences from the baseline with the same estimator; point estimates are compared with its mean.

        `p` is that of no difference, adjusted for the number `tests` of all differences of this grid.
        """
        reference = {
            row.readout: values
            for row, values in zip(self.scores, self.values, strict=True)
            if row.method.name == self.paired_to
        }
        found: list[dict[str, Any]] = []
        tested: list[NDArray[np.float64]] = []
        for row, values in zip(self.scores, self.values, strict=True):
            against: Readout = "mean" if row.readout == "point" else row.readout
            if row.method.name == self.paired_to or against not in reference:
                continue
            for name in self.metrics:
                if name in values and name in reference[against]:
                    difference = values[name] - reference[against][name]
                    found.append(
                        {
                            "run": self.run, "method": row.method.name, "readout": row.readout, "grid": list(self.grid.shape),
                            "against": f"{self.paired_to} {against}", "metric": name, **self._entry(difference, None),
                        }
                    )  # fmt: skip
                    tested.append(difference)
        adjusted = self._tests(tested)
        for entry, p in zip(found, adjusted, strict=True):
            entry |= {"p": p, "tests": len(adjusted) - adjusted.count(None)}
        return found

    def _tests(self, differences: Sequence[NDArray[np.float64]]) -> list[float | None]:
        """p-values of the differences, adjusted for their number; None where there is none."""
        padded = np.full((len(differences), 1 + self.bootstrap.groups), np.nan)
        for row, values in zip(padded, differences, strict=True):
            row[: len(values)] = values  # one value only of a metric of the whole set
        return [None if np.isnan(p) else rounded(float(p)) for p in self.bootstrap.tests(padded)]

    def calibration(self, groups: Sequence[str]) -> list[dict[str, Any]]:
        """For each row of samples: conformal and risk-controlling factor, error by predicted deviation, and rank histograms."""
        return [
            {**self.head(row), "conformal": rounded_tree(calibrate(score["score"], groups, self.seed)),
             "risk": rounded_tree(control(losses["losses"], groups, self.seed, self.alpha, self.delta)),
             "deviations": rounded_tree(binned_errors(row.values(SPREAD) or {})),
             "uniformity": rounded_tree(rank_entries(row.values(RANKS) or {}, self.bootstrap))}
            for row in self.scores
            if (score := row.values(SCORE)) is not None and (losses := row.values(LOSSES)) is not None
        ]  # fmt: skip

    def per_image(self, groups: Sequence[str], observed_share: NDArray[np.float64]) -> list[dict[str, Any]]:
        """All metrics of each single image; an empty string where undefined."""

        def shortened(value: float) -> float | str:
            return rounded(value) if np.isfinite(value) else ""

        found = []
        for row in self.scores:
            columns = {}
            for name, metric in self.metrics.items():
                parts = row.values(name)
                with np.errstate(divide="ignore", invalid="ignore"):
                    columns[name] = np.full(len(groups), np.nan) if parts is None else metric.reduce(parts)
            head = {"run": self.run, "method": row.method.name, "readout": row.readout, "grid": str(self.grid)}
            for i, (group, share) in enumerate(zip(groups, observed_share, strict=True)):
                about = {"image": i, "group": group, "observed_share": shortened(share)}
                found.append({**head, **about, **{name: shortened(values[i]) for name, values in columns.items()}})
        return found
