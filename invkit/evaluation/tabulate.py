"""Scores to table entries with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invkit.core.grid import Grid
from invkit.evaluation.bootstrap import Bootstrap
from invkit.evaluation.conformal import calibrate
from invkit.evaluation.metrics import Metric, Unavailable
from invkit.evaluation.metrics.base import Readout
from invkit.evaluation.results import Row, rounded, rounded_tree
from invkit.evaluation.spread_skill import SCORE, SPREAD, by_deviation


class Tabulator:
    """The numbers of one grid's rows, with intervals on the same resamples."""

    def __init__(
        self, rows: Sequence[Row], bootstrap: Bootstrap, metrics: Mapping[str, Metric], samples: int, paired_to: str,
        run: str, grid: Grid,
    ) -> None:  # fmt: skip
        self.gathered, self.bootstrap, self.run, self.grid = rows, bootstrap, run, grid
        self.metrics, self.samples, self.paired_to = metrics, samples, paired_to
        self.values = [self._values(row) for row in rows]

    def _values(self, row: Row) -> dict[str, NDArray[np.float64]]:
        """By metric, the value and those of the resamples; a metric without one says why."""
        found = {}
        for name, metric in self.metrics.items():
            if (parts := row.joined(name)) is not None:
                try:
                    found[name] = self.bootstrap.values(metric, parts)
                except Unavailable as why:
                    row.reasons[name] = str(why)
        return found

    def head(self, row: Row) -> dict[str, Any]:
        """What names a row and its work."""
        samples = self.samples if row.readout == "sample" else 0
        return {
            "method": row.method.name, "readout": row.readout, "grid": list(self.grid.shape),
            "nfe": row.method.nfe(row.readout), "samples": samples,
        }  # fmt: skip

    def _entry(self, values: NDArray[np.float64] | None, reason: str | None) -> dict[str, Any]:
        if values is None or not np.isfinite(values[0]):
            return {"value": None, "lo": None, "hi": None, "reason": reason or "not defined for these pictures"}
        lo, hi = (None if end is None else rounded(end) for end in self.bootstrap.interval(values))
        return {"value": rounded(float(values[0])), "lo": lo, "hi": hi}

    def rows(self) -> list[dict[str, Any]]:
        return [
            self.head(row)
            | {"metrics": {name: self._entry(values.get(name), row.reasons.get(name)) for name in self.metrics}}
            for row, values in zip(self.gathered, self.values, strict=True)
        ]

    def differences(self) -> list[dict[str, Any]]:
        """Of every row from the paired method's row of the same readout; of a point, from its mean."""
        reference = {
            row.readout: values
            for row, values in zip(self.gathered, self.values, strict=True)
            if row.method.name == self.paired_to
        }
        found = []
        for row, values in zip(self.gathered, self.values, strict=True):
            against: Readout = "mean" if row.readout == "point" else row.readout
            if row.method.name == self.paired_to or against not in reference:
                continue
            for name in self.metrics:
                if name in values and name in reference[against]:
                    entry = self._entry(values[name] - reference[against][name], None)
                    found.append(
                        {
                            "run": self.run, "method": row.method.name, "readout": row.readout, "grid": list(self.grid.shape),
                            "against": f"{self.paired_to} {against}", "metric": name, **entry,
                        }
                    )  # fmt: skip
        return found

    def calibration(self, groups: Sequence[str], seed: int) -> list[dict[str, Any]]:
        """Of every row that samples: the factor that calibrates it, and its error by predicted deviation."""
        return [
            {**self.head(row), "conformal": rounded_tree(calibrate(score["score"], groups, seed)),
             "deviations": rounded_tree(by_deviation(row.joined(SPREAD) or {}))}
            for row in self.gathered
            if (score := row.joined(SCORE)) is not None
        ]  # fmt: skip

    def per_image(
        self, ids: Sequence[int], groups: Sequence[str], observed_share: NDArray[np.float64]
    ) -> list[dict[str, Any]]:
        """Each metric of each picture alone; empty where it has no value there."""

        def said(value: float) -> float | str:
            return rounded(value) if np.isfinite(value) else ""

        found = []
        for row in self.gathered:
            columns = {}
            for name, metric in self.metrics.items():
                parts = row.joined(name)
                with np.errstate(divide="ignore", invalid="ignore"):
                    columns[name] = np.full(len(ids), np.nan) if parts is None else metric.reduce(parts)
            head = {"run": self.run, "method": row.method.name, "readout": row.readout, "grid": str(self.grid)}
            for n, (i, group, share) in enumerate(zip(ids, groups, observed_share, strict=True)):
                about = {"image": i, "group": group, "observed_share": said(share)}
                found.append({**head, **about, **{name: said(values[n]) for name, values in columns.items()}})
        return found
