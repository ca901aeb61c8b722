"""The calibrated factors that the evaluations of a run stored, and whether they hold for given samples."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from invkit.core.grid import Grid, as_grid
from invkit.diffusion import Sample
from invkit.experiment.contents import named_files
from invkit.experiment.drawing import Drawing, Tiled
from invkit.experiment.provenance import TABLE_ONLY, changed_code, plugin_code
from invkit.experiment.run_folder import RunFolder, flat
from invkit.experiment.stored_table import result_settings
from invkit.physics.operators.points import PointValues
from invkit.recipe.recipe import Recipe
from invkit.recipe.resolve import plain
from invkit.reconstructors.calibration import Calibration, Calibrations, percent

DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)
SECTIONS = ("data", "degradation", "noise")  # of a recipe: the images and measurements that factors hold for


@dataclass(frozen=True)
class Samples:
    """The samples to be calibrated: of which run, and how they are drawn."""

    recipe: Recipe
    folder: RunFolder
    weights: str  # SHA-256
    grid: Grid
    settings: Sample
    count: int

    def calibrations(self) -> Calibrations:
        """The factors for these samples, with the most calibration images first, and why there are no others."""
        found, reasons = [], [(-1, f"no table of samples of the model; {self.eval()} computes one")]
        for stored in _stored(self.folder):
            rank, reason = stored.refused(self)
            if reason is None:
                found.append(stored.calibration(self))
            else:
                reasons.append((rank, reason))
        name, (_, reason) = self.folder.given, max(reasons, key=lambda pair: pair[0])
        if not found:
            return (), f"no calibrated interval: {name} has {reason}"
        found.sort(key=lambda one: -one.images)
        percents = " and ".join(f"{share} %" for share in sorted({one.percent for one in found}))
        more = self.eval("eval.alpha=A")
        return tuple(
            found
        ), f"{name} has calibrated intervals of {percents} only; {more}, 1 - A the share, adds another"

    def eval(self, *settings: str) -> str:
        return f"`{' '.join(('invkit eval', self.folder.given, *settings))}`"

    def sampler(self) -> dict[str, Any]:
        return flat(plain(self.settings, self.recipe.registry))


@dataclass(frozen=True)
class _Stored:
    """The factors of the model's samples on one grid in one evaluation."""

    stamp: Mapping[str, Any]  # `Stamp`
    weights: str
    sampler: Mapping[str, Any]  # settings by key path
    entries: list[dict[str, Any]]  # of `calibration` in the table, one for each degradation

    def refused(self, samples: Samples) -> tuple[int, str | None]:
        """The number of the first check that fails, and why; (-1, None) if the factors hold for these samples."""
        again, (first, *_) = samples.eval(), self.entries
        grid, (height, width) = as_grid(tuple(first["grid"]), samples.grid.channels), samples.grid.shape
        risks = [entry.get("risk") for entry in self.entries]
        missing = next((risk["reason"] for risk in risks if risk and risk["factor"] is None), None)
        given = [f"sample.{key}={value}" for key, value in samples.sampler().items()]
        checks = (
            (self.weights != samples.weights, f"factors of other weights only; {again} computes them again"),
            (bool(changed := self._changed(samples)), f"factors for other {changed} only; {again} computes them again"),
            (
                self.sampler != samples.sampler(),
                f"factors for {_described(self.sampler)} only, not for {_described(samples.sampler())}; use that sampler, or "
                f"compute them with {samples.eval(*given)}",
            ),
            (
                first["samples"] != samples.count,
                f"factors for {first['samples']} samples only, not for {samples.count}; draw as many, or compute them with "
                + samples.eval(f"eval.samples={samples.count}"),
            ),
            (
                grid != samples.grid,
                f"factors on {grid} only, not on {samples.grid}; use --grid {grid}, or compute them with "
                + samples.eval(f"eval.grids=[[{height},{width}]]"),
            ),
            (None in risks, f"a table of an earlier version; {samples.eval('--name calibrated')} computes one with factors"),
            (
                missing is not None,
                f"too few calibration images ({missing}); {samples.eval('eval.images=N')} takes more, if there are"
                " test images"
            ),
        )  # fmt: skip
        return next(((i, text) for i, (failed, text) in enumerate(checks) if failed), (-1, None))

    def _changed(self, samples: Samples) -> str | None:
        """A setting, a plugin or a file that images or measurements depend on and that is not the run's own."""
        old, now = self.stamp["settings"], result_settings(samples.recipe)
        for key in sorted(old.keys() | now.keys()):
            if key.split(".")[0] in SECTIONS and old.get(key) != now.get(key):
                return f"{key} ({old.get(key)!r}, not {now.get(key)!r})"
        code = {name: text for name, text in plugin_code(samples.recipe).items() if name.split()[0] not in TABLE_ONLY}
        if others := changed_code(self.stamp.get("code", {}), code):
            return f"code of {others[0]}"
        contents = self.stamp.get("contents", {})
        files = {
            key: file["sha256"] for key, file in named_files(samples.recipe).items() if key.split(".")[0] in SECTIONS
        }
        return next((f"contents of {key}" for key in files if contents.get(key, files[key]) != files[key]), None)

    def calibration(self, samples: Samples) -> Calibration:
        """The largest factor over the degradations of a mixture, which holds for each of them."""
        risks, images = ([entry[kind] for entry in self.entries] for kind in ("risk", "conformal"))
        factors = [one["factor"] for one in images]
        names = ", ".join(dict.fromkeys(entry["degradation"] for entry in self.entries))
        return Calibration(
            percent=percent(risks[0]["alpha"]),
            factor=max(risk["factor"] for risk in risks),
            confidence=1 - risks[0]["delta"],
            images=min(risk["images"] for risk in risks),
            image_factor=None if None in factors else max(factors),
            measured=f"{names} of the recipe on {samples.grid} ({samples.count} samples, {_described(self.sampler)})",
        )


def refusal(drawing: Drawing, recipe: Recipe, unlike: list[str]) -> str | None:
    """Why no factor holds for a measurement, whatever was calibrated; None for one like those of the evaluation."""
    if isinstance(drawing.measurement.operator, PointValues):
        return "no calibrated interval: factors are for masks, not for points"
    if isinstance(drawing, Tiled):
        return "no calibrated interval: factors are for whole images, not for tiles"
    own, given = recipe.noise, drawing.measurement.noise
    if own.white != given.white:
        words = (repr(law) if law.white is None else f"{law.white:g}" for law in (own, given))
        return "no calibrated interval: factors are for the noise of the recipe, {}, not for {}".format(*words)
    return f"no calibrated interval: {unlike[0]}" if unlike else None


def _described(sampler: Mapping[str, Any]) -> str:
    return f"{sampler.get('method.name')} with {sampler.get('steps')} steps"


def _stored(folder: RunFolder) -> Iterator[_Stored]:
    """The factors of all evaluations in a run folder or a model file; damaged ones are passed over."""
    for stamp, table in folder.model.evaluations() if folder.model else ():
        with suppress(*DAMAGE):
            yield from _of_table(stamp, table)
    for path in (folder.eval, *sorted(folder.eval.glob("*/"))):
        try:
            stamp, table = (json.loads((path / name).read_text("utf-8")) for name in ("done.json", "table.json"))
            yield from _of_table(stamp, table)
        except DAMAGE:
            continue


def _of_table(stamp: Mapping[str, Any], table: Mapping[str, Any]) -> list[_Stored]:
    settings, weights = stamp["settings"], table["protocol"]["checkpoint"]["weights_sha256"]
    own = {key.removeprefix("sample."): value for key, value in settings.items() if key.startswith("sample.")}
    methods = settings["eval.methods"]
    names = [method["name"] for method in methods]
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for entry in table.get("calibration", ()):
        if entry["method"].partition("#")[0] == "model":
            found.setdefault((entry["method"], *map(str, entry["grid"])), []).append(entry)
    stored = []
    for (name, *_), entries in found.items():
        at = int(name.partition("#")[2]) if "#" in name else names.index("model")
        chosen = methods[at].get("sample")
        stored.append(_Stored(stamp, weights, flat(chosen) if chosen else own, entries))
    return stored
