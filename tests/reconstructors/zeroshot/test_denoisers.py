"""Denoisers of other libraries as priors: files against the function that they hold, diffusion models against a closed form."""

import json

import pytest
import torch
from support.messages import missing, raises
from torch import nn

from invkit.core.errors import DataError, RecipeError, Unavailable
from invkit.core.grid import Grid
from invkit.reconstructors.zeroshot import PRIORS
from invkit.testing.methods import sources

GRID, STD = Grid(16, 16), 0.3


class Wiener(nn.Module):
    """`m + v (x - m) / (v + s^2)` for images of black 0 and white 1: the denoiser of white images of mean .5 and variance v."""

    def forward(self, x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        v = 0.25 * 0.3**2
        return 0.5 + v / (v + s.view(-1, 1, 1, 1) ** 2) * (x - 0.5)


class Stacked(nn.Module):
    """The same with the level as a channel, and the noise as result."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Wiener()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :3] - self.inner(x[:, :3], x[:, 3, 0, 0])


def saved(module, file):
    if file.suffix == ".pt2":
        batch = torch.export.Dim("batch", min=1, max=512)
        program = torch.export.export(
            module, (torch.rand(2, 3, 16, 16), torch.rand(2)), dynamic_shapes=({0: batch}, {0: batch})
        )
        torch.export.save(program, file)
    else:
        torch.jit.save(torch.jit.script(module), file)


FILES = [("d.pt", Wiener, {"level": "argument"}), ("d.pt2", Wiener, {"level": "argument"}),
         ("d.ts", Stacked, {"level": "channel", "output": "noise"})]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize(("name", "module", "settings"), FILES)
def test_a_file_denoises_as_its_function(name, module, settings, tmp_path):
    saved(module(), tmp_path / name)
    chosen = PRIORS["denoiser"](file=str(tmp_path / name), range=(0.0, 1.0), **settings)
    prior = chosen.build(sources())
    x, sigma = torch.linspace(-1, 1, 2 * 3 * 256).view(2, 3, 16, 16).requires_grad_(), 0.8
    s = sigma * prior.noise_std(GRID)
    found, gain = prior.denoise(x, sigma), STD**2 / (STD**2 + s**2)
    torch.testing.assert_close(found, gain * x, rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), x)[0], torch.full_like(x, gain), rtol=1e-5, atol=0)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_what_is_no_denoiser_is_reported(tmp_path):
    with raises(DataError, tmp_path / "none.pt", "no such file"):
        PRIORS["denoiser"](file=str(tmp_path / "none.pt"), level="none", range=(0.0, 1.0)).build(sources())
    (tmp_path / "text.pt").write_text("no")
    with raises(DataError, tmp_path / "text.pt", "torch.jit.save"):
        PRIORS["denoiser"](file=str(tmp_path / "text.pt"), level="none", range=(0.0, 1.0)).build(sources())
    saved(Wiener(), file := tmp_path / "d.pt")
    odd = PRIORS["denoiser"](file=str(file), level="argument", range=(0.0, 1.0), multiple=3).build(sources())
    with raises(Unavailable, "multiples of 3", "16x16"):
        odd.denoise(torch.zeros(1, 3, 16, 16), 1.0)
    with raises(DataError, file, "(1, 4, 16, 16)", "level"):
        PRIORS["denoiser"](file=str(file), level="channel", range=(0.0, 1.0)).build(sources()).denoise(
            torch.zeros(1, 3, 16, 16), 1.0
        )
    with raises(DataError, "range", 1, 0):
        PRIORS["denoiser"](file=str(file), level="none", range=(1.0, 0.0)).build(sources())


def pipeline(folder, prediction="epsilon", seed=0):
    """A small diffusion model with random weights, saved as diffusers does."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(seed)
    unet = diffusers.UNet2DModel(
        sample_size=16, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    scheduler = diffusers.DDPMScheduler(
        num_train_timesteps=100, beta_schedule="scaled_linear", prediction_type=prediction
    )
    diffusers.DDPMPipeline(unet, scheduler).save_pretrained(folder)
    return unet.eval(), scheduler


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_a_diffusion_model_denoises_as_its_own_scheduler(prediction, tmp_path):
    unet, scheduler = pipeline(tmp_path / "p", prediction)
    prior = PRIORS["diffusers"](folder=str(tmp_path / "p")).build(sources())
    x, t = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), 40
    a = scheduler.alphas_cumprod[t]
    scheduler.register_to_config(clip_sample=False)
    with torch.no_grad():
        expected = scheduler.step(unet(a.sqrt() * x, t).sample, t, a.sqrt() * x).pred_original_sample
    sigma = float(((1 - a) / a).sqrt()) / prior.noise_std(GRID)
    torch.testing.assert_close(prior.denoise(x, sigma), expected, rtol=1e-4, atol=1e-4)
    model = prior.denoiser.__self__
    levels = model.log_levels.exp()
    assert model.step(float(levels[40] ** 0.5 * levels[41] ** 0.5)) == pytest.approx(40.5, abs=1e-6)
    assert (model.step(1e-9), model.step(1e9)) == (0, 99)


def test_what_is_no_diffusion_model_is_told(tmp_path):
    pipeline(tmp_path / "p")
    with raises(DataError, tmp_path / "q", "unet"):
        PRIORS["diffusers"](folder=str(tmp_path / "q")).build(sources())
    with raises(Unavailable, "multiples of 2", "15x16"):
        PRIORS["diffusers"](folder=str(tmp_path / "p")).build(sources()).denoise(torch.zeros(1, 3, 15, 16), 1.0)
    config = tmp_path / "p/scheduler/scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_class_name": "ScoreSdeVeScheduler"}))
    with raises(DataError, "ScoreSdeVeScheduler", config):
        PRIORS["diffusers"](folder=str(tmp_path / "p"), prediction="sample").build(sources())


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with raises(RecipeError, "invkit[diffusers]"):
        PRIORS["diffusers"](folder=str(tmp_path)).build(sources())


RECIPE = """\
data: {name: fields, train_size: 24, test_size: 4}
degradation: {name: sparse-random, fraction: 0.3}
model: {name: fno-unet, channels: 8, mult: [1], blocks: 1, modes: 2, embedding: 8}
train: {steps: 2, batch: 4, grids: [16], evaluate_every: 2, evaluate_images: 2}
sample: {steps: 2}
eval: {images: 4, samples: 3, batch: 2, metrics: [psnr, crps]}
log: {tensorboard: false}
"""


def test_a_diffusion_model_stands_in_one_table_with_ours(invkit, write, tmp_path):
    pipeline(tmp_path / "p")
    priors = ("gaussian", {"name": "diffusers", "folder": str(tmp_path / "p")})
    rows = [{"name": name, "prior": prior, "calls": 4} for name in ("dps", "ddrm", "diffpir") for prior in priors]
    recipe, run = write(RECIPE + "\n"), tmp_path / "run"
    code, _, err = invkit("run", recipe, "--out", run, "--device", "cpu", f"eval.methods={json.dumps(rows)}")
    assert code == 3 and not missing(err, "dps.prior", "prior `diffusers`", "linear denoiser", "check_prior: false")
    rows = [row | {"check_prior": False} for row in rows]
    code, _, err = invkit(
        "run", recipe, "--out", run, "--device", "cpu", f"eval.methods={json.dumps(['model', *rows])}"
    )
    assert code == 0, err
    table = json.loads((run / "eval/table.json").read_text("utf-8"))
    names = [
        "model",
        "model",
        *(f"{name}#{i}" for i, name in enumerate(("dps", "dps", "ddrm", "ddrm", "diffpir", "diffpir"), 1)),
    ]
    assert [row["method"] for row in table["rows"]] == names
    assert all(row["metrics"]["psnr"]["value"] is not None for row in table["rows"])
