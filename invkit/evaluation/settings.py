"""The recipe section `eval`."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from invkit.core.settings import IsName, Settings
from invkit.evaluation.metrics import COLUMNS, Metric, column, named
from invkit.reconstructors import METHODS, Method

Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]


class Eval(Settings):
    """Settings of the evaluation."""

    images: int = Field(128, ge=1, description="number of test images, the first of the split")
    samples: int = Field(
        19, ge=1, description="posterior samples per image; 19 give 50, 80 and 90 % intervals, 39 also 95 %"
    )
    methods: tuple[Method, ...] = Field(
        tuple(METHODS[name]() for name in ("nearest", "gaussian", "model")),
        min_length=1,
        description="rows of the table, in this order; a method may occur several times with different settings",
    )
    metrics: tuple[Metric, ...] = Field(
        tuple(map(named, COLUMNS)), min_length=1, description="columns of the table, in this order"
    )
    grids: tuple[Count | tuple[Count, Count], ...] | None = Field(
        None, min_length=1, description="grids to evaluate on: n or [height, width]; null: those of train.grids"
    )
    checkpoint: Literal["last", "best"] = Field(
        "last",
        description="weights to evaluate; best: by CRPS on the images that train.evaluate_every holds out",
    )
    batch: Count | Literal["auto"] = Field(
        "auto",
        description="images per batch; the table does not depend on it. auto: 16, on a GPU as many as fit with their samples, at "
        "most 256",
    )
    save: Count | Literal["all"] = Field(16, description="number of images whose reconstructions are stored, or all")
    save_samples: Count | Literal["all"] = Field(4, description="number of samples stored of each of them, or all")
    show: tuple[Index, ...] = Field(
        (0, 1, 2, 3, 4),
        description="test images of the report, beside the best, the median and the worst; those beyond eval.images are left out",
    )
    paired_to: Annotated[str, IsName("method")] = Field(
        "gaussian", description="baseline that the other methods are compared with, if it is among the rows"
    )
    alpha: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="largest expected share of pixels outside a calibrated interval; 0.1: 90 % intervals",
    )
    delta: float = Field(
        0.1, gt=0, lt=1, description="largest probability, over the calibration images, that alpha is exceeded"
    )

    def kept(self, count: int) -> tuple[int, int]:
        """How many of `count` images are stored, and how many samples of each."""
        images = count if self.save == "all" else min(self.save, count)
        return images, self.samples if self.save_samples == "all" else min(self.save_samples, self.samples)

    @field_validator("methods")
    @classmethod
    def _different(cls, chosen: tuple[Method, ...]) -> tuple[Method, ...]:
        if any(item in chosen[:i] for i, item in enumerate(chosen)):
            raise ValueError("should name each only once, or with different settings")
        return chosen

    @field_validator("metrics")
    @classmethod
    def _once(cls, chosen: tuple[Metric, ...]) -> tuple[Metric, ...]:
        if len({(type(item), column("", item)) for item in chosen}) < len(chosen):
            raise ValueError("should name each only once")
        return chosen
