"""The settings of an evaluation."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from invkit.core.settings import IsName, Settings
from invkit.evaluation.metrics import COLUMNS, METRICS, Metric
from invkit.reconstructors import METHODS, Method

Count = Annotated[int, Field(ge=1)]


class Eval(Settings):
    """How the table is made."""

    images: int = Field(128, ge=1, description="test pictures, the first of the split")
    samples: int = Field(
        19, ge=1, description="posterior samples of each picture; 19 give 50, 80 and 90 % intervals, 39 also 95 %"
    )
    methods: tuple[Method, ...] = Field(
        tuple(METHODS[name]() for name in ("nearest", "gaussian", "model")),
        min_length=1,
        description="rows, in this order",
    )
    metrics: tuple[Metric, ...] = Field(
        tuple(METRICS[name]() for name in COLUMNS), min_length=1, description="columns, in this order"
    )
    grids: tuple[int | tuple[int, int], ...] | None = Field(
        None, min_length=1, description="grids to evaluate on: n or [height, width]; null: those of train.grids"
    )
    checkpoint: Literal["last", "best"] = Field(
        "last",
        description="weights that are evaluated; best: by CRPS on the pictures that train.evaluate_every holds out",
    )
    batch: int = Field(16, ge=1, description="pictures at a time; the table does not depend on it")
    save: Count | Literal["all"] = Field(16, description="pictures whose reconstructions are kept, or all")
    save_samples: Count | Literal["all"] = Field(4, description="samples that are kept of each of them, or all")
    paired_to: Annotated[str, IsName("method")] = Field(
        "gaussian", description="method that the others are compared with, where it is among the rows"
    )

    def kept(self, count: int) -> tuple[int, int]:
        """Of `count` pictures, how many are kept, and how many samples of each."""
        pictures = count if self.save == "all" else min(self.save, count)
        return pictures, self.samples if self.save_samples == "all" else min(self.save_samples, self.samples)

    @field_validator("methods", "metrics")
    @classmethod
    def _once(cls, chosen: tuple[Settings, ...]) -> tuple[Settings, ...]:
        if len({type(item) for item in chosen}) < len(chosen):
            raise ValueError("should name each only once")
        return chosen
