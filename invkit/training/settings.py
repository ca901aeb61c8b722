"""The recipe sections `train` and `log`."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from invkit.core.device import Precision
from invkit.core.settings import ModelSetting, Settings

Cells = Annotated[int, Field(ge=1)]


class Train(Settings):
    """Settings of the training."""

    seed: int | None = Field(
        None,
        ge=0,
        lt=2**63,
        description="seed of weights, batches, masks and noise of the training; null: seed of the recipe",
    )
    init: ModelSetting | None = Field(
        None,
        description="start from the averaged weights of another run: its folder, a file of `invkit export`, or pretrained:NAME; "
        "null: random weights",
    )
    steps: int | None = Field(None, ge=1, description="optimiser steps; 2000 if neither steps nor budget is given")
    budget: str | None = Field(
        None,
        description="training time instead of `steps`, such as 90s, 10m, 2h or 1d; not reproducible. On a CPU it is the processor "
        "time of the main thread, so that other work on the machine does not shorten the training",
    )
    batch: int = Field(64, ge=1, description="images per step, over all accumulated parts and processes")
    accumulate: int = Field(1, ge=1, description="parts that a batch is split into; there is one update per batch")
    lr: float = Field(1e-3, gt=0, description="learning rate of AdamW")
    muon_lr: float | None = Field(0.02, gt=0, description="learning rate of Muon for convolutions; null: AdamW for all")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")
    warmup: int = Field(50, ge=0, description="steps of linear learning rate warm-up")
    decay: float = Field(
        0.4, ge=0, le=1, description="share of the steps, at the end, of linear decay of the learning rate to zero"
    )
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights, reached after a ramp")
    ema_length: float | None = Field(
        None, gt=0.01, lt=0.28, description="relative length of a power-function average, instead of `ema`"
    )
    mean_share: float = Field(
        0.25, ge=0, le=1, description="share of a batch trained on the posterior mean (noise level infinity)"
    )
    one_step_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of a batch trained to draw a sample by one network call (sample.method: one-step), by the energy "
        "score of two samples",
    )
    query_fraction: float | None = Field(
        None,
        gt=0,
        le=1,
        description="share of all pixels, random and disjoint from the observed, that the loss is evaluated on; null: all hidden",
    )
    clean: bool = Field(
        True,
        description="false: each training image is known only at the pixels of one measurement, with its noise; the network is "
        "shown a part of them, and the loss is taken on the others",
    )
    held: float | tuple[float, float] = Field(
        0.5,
        description="with clean=false, the share of an image's measured pixels that the loss is taken on; or [low, high], drawn "
        "uniformly for each example",
    )
    flip: bool | None = Field(
        None,
        description="mirror images left to right at random; null: if the data set says that mirror images are alike",
    )
    grids: tuple[Cells | tuple[Cells, Cells], ...] = Field(
        (32,), min_length=1, description="grids, one chosen at random for each step: n or [height, width]"
    )
    checkpoint_every: int = Field(500, ge=1, description="steps between checkpoints")
    workers: int = Field(0, ge=0, description="processes that prefetch images; 0: no prefetching")
    keep: int = Field(2, ge=1, description="latest checkpoints kept, in addition to the best if there are evaluations")
    sample_every: int = Field(500, ge=1, description="steps between sample grids")
    evaluate_every: int | None = Field(
        None,
        ge=1,
        description="steps between evaluations on groups held out of the training images; null: no evaluations",
    )
    evaluate_images: int = Field(64, ge=2, description="number of images held out for these evaluations")
    precision: Precision = Field("auto", description="auto: bf16 if the device is fast at it, else float32")
    determinism: Literal["strict", "fast"] = Field("fast", description="strict: deterministic kernels only")
    compile: bool = Field(False, description="compile the network with torch.compile; if that fails, train without")
    graph: Literal["auto", "off"] = Field(
        "auto",
        description="auto: on a GPU, calls of the network are captured as CUDA graphs, in training (not with dropout, recompute, "
        "accumulate or one_step_share) and for means and samples; off: they are not",
    )
    on_nonfinite: Literal["stop", "skip"] = Field(
        "stop", description="at a loss or gradient that is not finite: stop, or skip the step"
    )

    @field_validator("budget")
    @classmethod
    def _duration(cls, budget: str | None) -> str | None:
        if budget is not None and not re.fullmatch(r"\d+(\.\d+)?[smhd]", budget):
            raise ValueError("should be a number followed by s, m, h or d, as in 10m")
        return budget

    @model_validator(mode="after")
    def _length(self) -> Self:
        if self.steps is not None and self.budget is not None:
            raise ValueError("give either steps or a budget")
        return self

    @model_validator(mode="after")
    def _measured_pixels(self) -> Self:
        low, high = self.held_shares
        if not 0 < low <= high < 1:
            raise ValueError("held should lie between 0 and 1, the lower bound first")
        if not self.clean and len(self.grids) > 1:
            raise ValueError(
                "clean=false needs a single grid: a pixel of a coarse grid is the mean of fine ones, not all measured"
            )
        if not self.clean and self.one_step_share:
            raise ValueError("one_step_share needs clean images: it compares samples with whole images")
        if not self.clean and self.query_fraction is not None:
            raise ValueError("clean=false takes the loss on measured pixels (train.held); leave query_fraction out")
        return self

    @property
    def held_shares(self) -> tuple[float, float]:
        """Lowest and highest share of the measured pixels that the loss is taken on."""
        return self.held if isinstance(self.held, tuple) else (self.held, self.held)

    @property
    def total(self) -> int | None:
        """Number of training steps; None if there is a budget."""
        return self.steps or (2000 if self.budget is None else None)

    @property
    def seconds(self) -> float | None:
        """The budget in seconds; None if there is none."""
        units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
        return None if self.budget is None else float(self.budget[:-1]) * units[self.budget[-1]]


class Log(Settings):
    """Settings of the training log."""

    every: int = Field(20, ge=1, description="steps between logged records")
    to: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field(
        ("tensorboard",),
        description="where to log besides metrics.jsonl; wandb and mlflow are extras of the installation",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_before(cls, data: Any) -> Any:
        """`tensorboard: true | false` of earlier versions."""
        if isinstance(data, dict) and isinstance(data.get("to"), list):
            data = {**data, "to": tuple(data["to"])}  # what a validator returns is no longer read as JSON
        if not isinstance(data, dict) or not isinstance(data.get("tensorboard"), bool):
            return data
        rest = {key: value for key, value in data.items() if key != "tensorboard"}
        return {"to": ("tensorboard",) if data["tensorboard"] else (), **rest}
