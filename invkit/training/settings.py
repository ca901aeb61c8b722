"""Settings of a training."""

from typing import Literal, Self

from pydantic import Field, model_validator

from invkit.core.device import Precision
from invkit.core.settings import Settings


class Train(Settings):
    """How the model is trained."""

    steps: int | None = Field(None, ge=1, description="optimiser steps; 2000 where neither they nor a budget are given")
    budget: str | None = Field(
        None,
        pattern=r"^\d+(\.\d+)?[smhd]$",
        description="time to train for in place of `steps`, such as 90s, 10m, 2h or 1d; not reproducible",
    )
    batch: int = Field(64, ge=1, description="pictures a step, over all accumulated parts and processes")
    accumulate: int = Field(1, ge=1, description="parts a batch is computed in; the update is that of the whole")
    lr: float = Field(1e-3, gt=0, description="learning rate of AdamW")
    muon_lr: float | None = Field(0.02, gt=0, description="learning rate of Muon for convolutions; null: AdamW for all")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")
    warmup: int = Field(50, ge=0, description="steps in which the learning rate rises")
    decay: float = Field(
        0.4, ge=0, le=1, description="share of the steps, at the end, in which the learning rate falls to zero"
    )
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights, reached after a ramp")
    ema_length: float | None = Field(
        None, gt=0.01, lt=0.28, description="power-function average of this share of the training, in place of `ema`"
    )
    mean_share: float = Field(
        0.25, ge=0, le=1, description="share of a batch trained on the posterior mean (noise level infinity)"
    )
    query_fraction: float | None = Field(
        None,
        gt=0,
        le=1,
        description="take the loss on a second drawn share of the pixels, disjoint from the observed; null: on all hidden",
    )
    flip: bool = Field(True, description="mirror pictures left to right at random")
    grids: tuple[int | tuple[int, int], ...] = Field(
        (32,), min_length=1, description="grids, one drawn for each step: n or [height, width]"
    )
    checkpoint_every: int = Field(500, ge=1, description="steps between checkpoints")
    workers: int = Field(0, ge=0, description="processes that read pictures ahead; 0: read when they are needed")
    keep: int = Field(2, ge=1, description="checkpoints kept, beside the best one where there are evaluations")
    sample_every: int = Field(500, ge=1, description="steps between sample grids")
    evaluate_every: int | None = Field(
        None, ge=1, description="steps between evaluations on held-out training pictures; null: none is held out"
    )
    evaluate_images: int = Field(64, ge=2, description="pictures held out for these evaluations")
    precision: Precision = Field("auto", description="bf16 where the device is fast at it (auto), bf16 or float32")
    determinism: Literal["strict", "fast"] = Field("fast", description="strict: deterministic kernels only")
    compile: bool = Field(False, description="compile the network with torch.compile, where that works")
    on_nonfinite: Literal["stop", "skip"] = Field(
        "stop", description="at a loss or gradient that is not finite: stop, or leave the step out"
    )

    @model_validator(mode="after")
    def _length(self) -> Self:
        if self.steps is not None and self.budget is not None:
            raise ValueError("give either steps or a budget")
        return self

    @property
    def total(self) -> int | None:
        """The steps of the training; None where a budget ends it."""
        return self.steps or (2000 if self.budget is None else None)

    @property
    def seconds(self) -> float | None:
        """The budget in seconds."""
        units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
        return None if self.budget is None else float(self.budget[:-1]) * units[self.budget[-1]]


class Log(Settings):
    """What is written down during training."""

    every: int = Field(20, ge=1, description="steps between logged records")
    tensorboard: bool = Field(True, description="write TensorBoard files")
