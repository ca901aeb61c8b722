"""Plots of the report: reliability, error against predicted deviation, ranks, quality against cost, and the training loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

NOMINAL = (50, 80, 90, 95)
FEW = 1e-3  # smallest share of a row's pixels for a point of the error curve
MARKER = {"point": "^", "mean": "o", "sample": "s"}
Table = Mapping[str, Any]


def plain_figure() -> tuple[Figure, Any]:
    """A figure and its axes in the report's style, without pyplot."""
    figure = Figure(figsize=(4.8, 3.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def reliability_figure(table: Table) -> Figure | None:
    """Share of truths inside central intervals against the nominal share; None if no row has samples."""
    figure, axes = plain_figure()
    drawn = False
    several = _several(table["rows"])
    for row in table["rows"]:
        entries = [(p, row["metrics"].get(f"coverage_{p}")) for p in NOMINAL]
        points = [(p, e) for p, e in entries if e and e["value"] is not None]
        if not points:
            continue
        drawn = True
        x, y = [p for p, _ in points], [100 * e["value"] for _, e in points]
        axes.errorbar(
            x,
            y,
            yerr=_bars([e for _, e in points], 100),
            marker="o",
            ms=4,
            lw=1.2,
            capsize=2,
            label=_label(row, several),
        )
    if not drawn:
        return None
    axes.plot([40, 100], [40, 100], color="0.6", lw=1, ls="--", zorder=0)
    axes.set(xlabel="nominal, %", ylabel="truths inside, %", xlim=(45, 100), ylim=(40, 100))
    _legend(axes, True)
    return figure


def deviation_figure(table: Table) -> Figure | None:
    """Root mean squared error against predicted standard deviation, on [0, 1]; None if no row has samples."""
    figure, axes = plain_figure()
    entries = table.get("calibration", ())
    several = _several(entries)
    ends: list[float] = []
    for entry in entries:
        total = sum(point["count"] for point in entry["deviations"])
        points = [point for point in entry["deviations"] if point["count"] >= FEW * total and point["predicted"] > 0]
        if points:
            x, y = [point["predicted"] for point in points], [point["error"] for point in points]
            axes.plot(x, y, marker="o", ms=4, lw=1.2, label=_label(entry, several))
            ends += [*x, *(value for value in y if value > 0)]
    if not ends:
        return None
    line = [min(ends) / 1.3, max(ends) * 1.3]
    axes.plot(line, line, color="0.6", lw=1, ls="--", zorder=0)
    axes.set(xlabel="predicted standard deviation", ylabel="root mean squared error", xscale="log", yscale="log")
    axes.set(xlim=line, ylim=line)
    _plain_ticks(axes.xaxis)
    _plain_ticks(axes.yaxis)
    _legend(axes, True)
    return figure


def rank_figures(table: Table) -> dict[str, Figure]:
    """Rank histograms of each row that samples, by its label: 1 at every rank for a true posterior."""
    figures = {}
    several = _several(table.get("calibration", ()))
    for entry in table.get("calibration", ()):
        histograms = entry.get("uniformity", {}).get("ranks", ())
        if not histograms:
            continue
        figure, axes = plain_figure()
        for one in histograms:
            places = [(i + 0.5) / len(one["density"]) for i in range(len(one["density"]))]
            label = one["of"] if one["p"] is None else f"{one['of']}: p = {one['p']:.2g}"
            axes.plot(places, one["density"], drawstyle="steps-mid", lw=1.2, label=label)
        axes.axhline(1, color="0.6", lw=1, ls="--", zorder=0)
        axes.set(xlabel="rank of the truth among the samples, 0 to 1", ylabel="density", xlim=(0, 1), ylim=(0, None))
        _legend(axes, True)
        figures[_label(entry, several)] = figure
    return figures


def cost_figures(table: Table, cost: Mapping[str, Any]) -> dict[str, Figure]:
    """CRPS (PSNR if no row has CRPS) against seconds per image, by grid and degradation."""
    seconds = {_key(row): row["seconds_per_image"] for row in cost["rows"]}
    figures = {}
    several = _several(table["rows"])
    for place in dict.fromkeys((row.get("degradation"), *row["grid"]) for row in table["rows"]):
        rows = [row for row in table["rows"] if (row.get("degradation"), *row["grid"]) == place]
        metric = next((m for m in ("crps", "psnr") if any(_value(row, m) is not None for row in rows)), None)
        rows = [row for row in rows if metric and _value(row, metric) is not None and seconds.get(_key(row))]
        if not rows or metric is None:
            continue
        figure, axes = plain_figure()
        methods = list(dict.fromkeys(row["method"] for row in rows))
        for row in rows:
            axes.errorbar(
                [seconds[_key(row)]], [_value(row, metric)], yerr=_bars([row["metrics"][metric]]), capsize=2, ls="", ms=6,
                marker=MARKER[row["readout"]], color=f"C{methods.index(row['method']) % 10}",
                label=f"{row['method']} {row['readout']}" + f" x{row['samples']}" * bool(row["samples"]),
            )  # fmt: skip
        better = "lower" if metric == "crps" else "higher"
        axes.set(xlabel="seconds per image", ylabel=f"{metric.upper()}, {better} is better", xscale="log")
        axes.margins(x=0.15)
        _legend(axes, True)
        figures[_place(rows[0]) + f", {rows[0].get('degradation')}" * several] = figure
    return figures


def training_figure(records: Sequence[Mapping[str, Any]]) -> Figure | None:
    """The loss over the steps, and its mean over a moving window of a twentieth of them; None without losses."""
    records = [record for record in records if "loss" in record]  # not those of a validation
    if not records:
        return None
    steps, losses = [np.array([record[key] for record in records], float) for key in ("step", "loss")]
    figure, axes = plain_figure()
    axes.plot(steps, losses, color="0.75", lw=0.8, label="each record")
    if (window := len(losses) // 20) > 1:
        axes.plot(steps, _smoothed(losses, window), color="C0", lw=1.5, label=f"mean of {window} records")
        _legend(axes, False)
    axes.set(xlabel="step", ylabel="loss", yscale="log" if losses.min() > 0 else "linear")
    if losses.min() > 0:
        _plain_ticks(axes.yaxis)
    return figure


def _smoothed(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """The mean over a window around each value, shorter at the ends; of logarithms if all are positive."""
    logarithms = values.min() > 0
    sums = np.concatenate([[0.0], np.cumsum(np.log(values) if logarithms else values)])
    at = np.arange(len(values))
    first, last = np.maximum(at - window // 2, 0), np.minimum(at + window // 2 + 1, len(values))
    means = (sums[last] - sums[first]) / (last - first)
    return np.exp(means) if logarithms else means


def _plain_ticks(axis: Any) -> None:
    """Ticks at 1, 2 and 5 of each decade: for a decade or less, the default labels overlap."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _bars(entries: Sequence[Mapping[str, Any]], scale: float = 1) -> list[list[float]]:
    """Lengths of the error bars below and above each value, times `scale`."""
    below = [max(0, e["value"] - (e["value"] if e["lo"] is None else e["lo"])) for e in entries]
    above = [max(0, (e["value"] if e["hi"] is None else e["hi"]) - e["value"]) for e in entries]
    return [[scale * length for length in below], [scale * length for length in above]]


def _several(rows: Sequence[Mapping[str, Any]]) -> bool:
    return len({row.get("degradation") for row in rows}) > 1


def _place(row: Mapping[str, Any]) -> str:
    return "x".join(map(str, row["grid"]))


def _label(row: Mapping[str, Any], several: bool) -> str:
    return f"{row['method']} {_place(row)}" + f" {row.get('degradation')}" * several


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row.get("degradation"), row["method"], row["readout"], *row["grid"]


def _value(row: Mapping[str, Any], metric: str) -> float | None:
    return row["metrics"].get(metric, {}).get("value")


def _legend(axes: Any, outside: bool) -> None:
    """A legend within the axes, or below them, which makes the figure higher."""
    if not outside:
        axes.legend(frameon=False, fontsize=9)
        return
    figure, entries = axes.figure, len(axes.get_legend_handles_labels()[0])
    figure.set_figheight(figure.get_figheight() + 0.19 * -(-entries // 2))
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9)
