"""Unconditional diffusion models of the library diffusers, as priors; requires the extra `[diffusers]`."""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.errors import DataError, RecipeError, first_line
from invkit.core.settings import PathSetting
from invkit.reconstructors.base import Sources
from invkit.reconstructors.zeroshot.denoisers import DenoiserPrior, require_multiple
from invkit.reconstructors.zeroshot.prior import Prior
from invkit.reconstructors.zeroshot.priors import ImagePrior

Prediction = Literal["epsilon", "sample", "v_prediction"]


class DiffusersModel(ImagePrior):
    """A pipeline folder of diffusers with a `UNet2DModel`, such as of `DDPMPipeline.save_pretrained`."""

    folder: PathSetting = Field(min_length=1, description="folder with `unet/` and `scheduler/`")
    prediction: Prediction | None = Field(None, description="what the network predicts; null: as the scheduler states")

    def build(self, sources: Sources) -> Prior:
        model = _loaded(Path(self.folder), self.prediction, str(sources.model.token.device))
        if model.channels != sources.model.channels:
            raise RecipeError(
                f"{self.folder} is a model of images with {model.channels} channels, and the recipe's have {sources.model.channels}"
            )
        return DenoiserPrior.of(sources, model.denoise)


@dataclass(frozen=True, eq=False)
class ScheduledModel:
    """A network of the variance-preserving state `x_t = sqrt(a) x_0 + sqrt(1 - a) e`, with `a` the cumulated alpha of step t.

    With the noise level `s = sqrt((1 - a) / a)` of pixels (Song et al. 2021, DDIM, section 4.3) `x_t` is `x / sqrt(1 + s^2)` for
    `x = x_0 + s e`.
    """

    unet: Any
    prediction: str
    log_levels: Tensor  # (T,): ln s of each step, increasing
    folder: str

    @property
    def channels(self) -> int:
        return self.unet.config.in_channels

    def step(self, std: float) -> float:
        """The time step of a noise level, between two steps linear in ln s; the first or last beyond the schedule."""
        log = math.log(max(std, 1e-12))
        above = int((self.log_levels < log).sum())
        if above in (0, len(self.log_levels)):
            return float(min(above, len(self.log_levels) - 1))
        low, high = self.log_levels[above - 1 : above + 1].tolist()
        return above - 1 + (log - low) / (high - low)

    def denoise(self, x: Tensor, std: float) -> Tensor:
        require_multiple(x, 2 ** (len(self.unet.config.block_out_channels) - 1), self.folder)
        a = 1 / (1 + std**2)
        state = a**0.5 * x
        time = torch.full((len(x),), self.step(std), dtype=torch.float32, device=x.device)
        out = self.unet(state.float(), time).sample.to(x)
        if self.prediction == "epsilon":
            return x - std * out
        if self.prediction == "sample":
            return out
        return (
            a**0.5 * state - (1 - a) ** 0.5 * out
        )  # v = sqrt(a) e - sqrt(1 - a) x_0 (Salimans & Ho 2022, section 2.4)


@lru_cache(maxsize=4)
def _loaded(folder: Path, prediction: str | None, device: str) -> ScheduledModel:
    try:
        import diffusers
    except ImportError:
        raise RecipeError("a prior of diffusers needs the extra: pip install 'invkit[diffusers]'") from None
    file = folder / "scheduler" / "scheduler_config.json"
    try:
        config = json.loads(file.read_text("utf-8"))
        unet = diffusers.UNet2DModel.from_pretrained(folder / "unet", local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is no pipeline folder with `unet/` and `scheduler/`: {first_line(error)}") from None
    if not str(config.get("_class_name")).startswith(("DDPM", "DDIM", "PNDM", "DPMSolver", "DEIS", "UniPC")):
        raise DataError(f"{file}: {config.get('_class_name')} has no noise levels of the kind of DDPM")
    keys = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")
    schedule = diffusers.DDPMScheduler(**{key: config[key] for key in keys if config.get(key) is not None})
    alphas = schedule.alphas_cumprod.double()
    predicts = prediction or config.get("prediction_type", "epsilon")
    if predicts not in ("epsilon", "sample", "v_prediction"):
        raise DataError(f"{file}: prediction_type is {predicts!r}, expected epsilon, sample or v_prediction")
    if unet.config.out_channels != unet.config.in_channels:
        raise DataError(f"{folder} predicts variances too (out_channels is not in_channels), which is not supported")
    logs = ((1 - alphas) / alphas.clamp(min=1e-12)).log() / 2
    return ScheduledModel(unet.to(device).eval().requires_grad_(False), predicts, logs, str(folder))
