"""What a shipped model is for and how good it is, from the facts in its file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from invkit.core.settings import PRETRAINED
from invkit.experiment.model_file import ModelFile


def summary(name: str) -> dict[str, Any]:
    """Task, figures, size and licence of a shipped model; a figure that was not measured is None.

    Figures are means over the degradations of the table. A prior has none, since it is not judged by reconstructions of its own.
    """
    model = ModelFile.find(Path(f"{PRETRAINED}{name}"))
    assert model is not None
    settings = yaml.safe_load(model.recipe)
    degradation = settings["degradation"]["name"]
    _, table = next(model.evaluations(), ({}, {}))
    if degradation == "nothing":
        degradation, table = "nothing (prior)", {}
    rows = [row for row in table.get("rows", ()) if row["method"] == "model"]
    gains = [d for d in table.get("differences", ()) if (d["method"], d["metric"]) == ("model", "psnr")]
    gains = [d for d in gains if d["readout"] == "mean" and d["against"] == "gaussian mean"]
    height, width = _shape(settings["train"]["grids"][0])
    return {
        "name": name,
        "task": degradation,
        "grid": f"{height}x{width}",
        "psnr": _mean(row["metrics"]["psnr"]["value"] for row in rows if row["readout"] == "mean"),
        "gain": _mean(d["value"] for d in gains),
        "crps": _mean(row["metrics"]["crps"]["value"] for row in rows if row["readout"] == "sample"),
        "size": model.path.stat().st_size,
        "licence": model.checkpoint.meta["licence"],
        "images_seen": model.checkpoint.meta["images_seen"],
        "sha256": model.sha256,
    }


def _shape(size: int | list[int]) -> list[int]:
    return [size, size] if isinstance(size, int) else size


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
