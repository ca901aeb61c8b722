"""Priors of zero-shot rows: found, refused, differentiable, and part of what a table is a function of."""

import json
from types import SimpleNamespace

import pytest
import torch
from support.messages import missing, raises

from invkit.core.errors import DataError, RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion.preconditioning import SpectralPreconditioning
from invkit.diffusion.settings import Diffusion
from invkit.experiment import run as experiment
from invkit.experiment.export import export
from invkit.experiment.priors import load_priors
from invkit.experiment.run import evaluate, run
from invkit.experiment.smoke import smoke_recipe
from invkit.recipe.recipe import load_recipe
from invkit.reconstructors.zeroshot import SOLVERS, TrainedPrior
from invkit.reconstructors.zeroshot.base import PointSolver
from invkit.reconstructors.zeroshot.denoising import error_ratios, linear_denoiser
from invkit.reconstructors.zeroshot.priors import Gaussian, Pretrained, Run

RECIPE = """\
data: {name: photos}
degradation: {name: nothing}
diffusion: {preconditioning: edm}  # without training, far from the linear denoiser
model: {name: fno-unet, fill: mean, channels: 16, mult: [1, 2], blocks: 1, modes: 3, embedding: 8}
train: {steps: 2, batch: 4, warmup: 1, grids: [16], checkpoint_every: 2, sample_every: 2, precision: float32}
sample: {steps: 2}
eval: {images: 4, samples: 3, batch: 2, methods: [gaussian], metrics: [psnr, crps, data_misfit]}
log: {tensorboard: false}
"""


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")
    (folder / "tiny.yaml").write_text(RECIPE)
    return run(load_recipe(folder / "tiny.yaml"), folder / "run", "cpu")


SMALL = {"repaint": {"resamplings": 2}, "tds": {"particles": 1, "products": 1}}  # steps of at most 4 calls


def rows(path, *names, calls=4):
    settings = {"prior": str(path), "calls": calls, "check_prior": False}
    return "eval.methods=" + json.dumps([{"name": n, **settings, **SMALL.get(n, {})} for n in names])


def test_every_solver_is_a_row_and_what_it_is_not_made_for_is_said(prior):
    table = evaluate(prior, ["degradation.name=sparse-random", rows(prior, *SOLVERS)], "cpu")
    readouts = {name: "point" if issubclass(cls, PointSolver) else "sample" for name, cls in SOLVERS.items()}
    assert [(row["method"], row["readout"], row["nfe"]) for row in table["rows"]] == [
        (*own, 4) for own in readouts.items()
    ]
    assert all(row["metrics"]["crps"]["value"] > 0 for row in table["rows"] if row["readout"] == "sample")
    table = evaluate(prior, ["degradation.name=tomography", rows(prior, "ddrm", "repaint", "diffpir")], "cpu")
    ddrm, repaint, diffpir = (row["metrics"] for row in table["rows"])
    assert not any(missing(entry["reason"], "repaint") for entry in repaint.values())
    assert all(entry["value"] is None and not missing(entry["reason"], "ddrm") for entry in ddrm.values())
    assert all(entry["value"] is not None for entry in diffpir.values())


def test_a_table_is_of_the_priors_weights_too(prior, monkeypatch):
    stamp, read = prior / "eval" / "ddnm" / "done.json", experiment._priors
    table = evaluate(prior, [rows(prior, "ddnm")], "cpu", name="ddnm")
    before = stamp.read_text()
    assert table == evaluate(prior, [rows(prior, "ddnm")], "cpu", name="ddnm")
    assert stamp.read_text() == before

    def changed(*arguments):
        found = read(*arguments)
        with torch.no_grad():
            for model in found.values():
                next(model.network.exit.parameters()).add_(1)
        return found

    monkeypatch.setattr(experiment, "_priors", changed)
    again = evaluate(prior, [rows(prior, "ddnm")], "cpu", name="ddnm")
    assert stamp.read_text() != before and again["rows"] != table["rows"]


def test_a_prior_that_loses_to_the_linear_denoiser_is_refused_before_the_training(prior, tmp_path):
    checked = rows(prior, "pigdm").replace(', "check_prior": false', "")
    assert "check_prior" not in checked
    with raises(DataError, "pigdm.prior", prior, "noise level", "squared error", "linear", "check_prior: false"):
        evaluate(prior, [checked], "cpu")
    with raises(DataError, "pigdm.prior", "noise level"):
        run(load_recipe("quickstart", [checked]), tmp_path / "out", "cpu", smoke=True)
    assert not (tmp_path / "out" / "checkpoints").exists()
    assert evaluate(prior, [rows(prior, "pigdm")], "cpu")["rows"], "unless it is asked for"


def test_a_zero_network_with_spectral_factors_equals_the_linear_denoiser(prior):
    model = experiment.load(prior, "cpu").model
    fresh = type(model)(
        model.settings, Diffusion(preconditioning=SpectralPreconditioning()), model.constants, "float32"
    )
    x = load_recipe("quickstart", ["train.grids=[16]", "eval.images=8"]).open_images("test")[Grid(16, 16)][range(8)]
    levels = [0.1, 1.0, 10.0, 80.0]
    own = TrainedPrior(fresh)
    linear = linear_denoiser(own, Grid(16, 16))
    assert error_ratios(own, linear, x, levels) == pytest.approx([1] * 4, abs=0.1), "fitted to 64 images and to 512"
    with torch.no_grad():
        for p in fresh.network.exit.parameters():
            p.add_(0.3)
    assert min(error_ratios(own, linear, x, levels)) > 1.2


def test_priors_by_name_and_by_path(prior, tmp_path):
    texts = {"gaussian": Gaussian(), "pretrained:a": Pretrained(model="a"), "/a/b": Run(path="/a/b")}
    for text, prior_of in texts.items():
        recipe = load_recipe("quickstart", [f"eval.methods=[{{name: ddnm, prior: '{text}'}}]"])
        assert recipe.eval.methods[0].prior == prior_of
        (tmp_path / "again.yaml").write_text(recipe.dump())
        assert load_recipe(tmp_path / "again.yaml") == recipe
    (tmp_path / "own.yaml").write_text(
        "data: photos\ndegradation: sparse-random\neval: {methods: [{name: ddnm, prior: runs/a}]}\n"
    )
    assert load_recipe(tmp_path / "own.yaml").eval.methods[0].prior.path == str(tmp_path / "runs/a")
    methods = "eval.methods=[{name: ddnm, prior: gaussian, calls: 4}, {name: ddnm, prior: gaussian, calls: 8}]"
    table = evaluate(prior, ["degradation.name=sparse-random", methods], "cpu")
    assert [row["method"] for row in table["rows"]] == ["ddnm#0", "ddnm#1"]
    with raises(RecipeError, "ddnm.prior", "oracle", "data.name=fields"):
        evaluate(prior, ["degradation.name=sparse-random", "eval.methods=[{name: ddnm, prior: oracle}]"], "cpu")


def load(degradation="nothing", channels=3):
    recipe = load_recipe("quickstart", [f"degradation.name={degradation}"])
    return lambda path: SimpleNamespace(recipe=recipe, model=SimpleNamespace(channels=channels), folder=None)


def test_a_prior_is_loaded_once_and_has_to_be_one(tmp_path):
    recipe = load_recipe("quickstart", [rows(tmp_path, "dps", "pigdm")])
    asked = []
    found = load_priors(recipe, lambda path: asked.append(path) or load()(path))
    assert list(found) == [str(tmp_path)] and asked == [tmp_path]
    with raises(RecipeError, "dps.prior", "sparse-random", "nothing"):
        load_priors(recipe, load("sparse-random"))
    with raises(RecipeError, "dps.prior", 1, 3):
        load_priors(recipe, load(channels=1))
    with raises(DataError, "eval.methods", "dps.prior", tmp_path, "invkit run"):
        run(recipe, tmp_path / "out", "cpu", smoke=True)
    assert not (tmp_path / "out" / "checkpoints").exists(), "told before the training"


def test_settings_that_cannot_be_are_told():
    with raises(RecipeError, "eval.methods.0", "calls", 10):
        load_recipe("quickstart", ["eval.methods=[{name: repaint, prior: x, calls: 4}]"])
    with raises(RecipeError, "eval.methods.0.prior"):
        load_recipe("quickstart", ["eval.methods=[dps]"])


@pytest.mark.parametrize("fill", ["mean", "gaussian"])
def test_a_trained_prior_is_in_picture_units(fill, prior):
    """An untrained model with spectral factors denoises exactly as the Gaussian law of its residual."""
    model = experiment.load(prior, "cpu").model
    settings = model.settings.model_copy(update={"fill": fill})
    diffusion = Diffusion(preconditioning=SpectralPreconditioning())
    fresh = type(model)(settings, diffusion, model.constants, "float32")
    own, grid, sigma = TrainedPrior(fresh), Grid(16, 16), 0.7
    n = own.noise(Keys.of(0, "n", range(200)), grid, "n")
    deviation = own.std(grid)
    assert own.noise_std(grid) == pytest.approx(float(n.square().mean().sqrt()), rel=0.02)
    x = (own.mean(grid) + sigma * n[:2]).requires_grad_()
    clean = own.denoise(x, sigma)
    # J^T turns a probe into sigma^-2 C^-1 times a covariance: symmetric and positive with C
    v, w = n[2:4] / deviation, n[4:6] / deviation
    pulled = [sigma**2 * own.covariance(torch.autograd.grad(clean, x, t, retain_graph=True)[0]) for t in (v, w)]
    first, second = (pulled[0] * w).sum((1, 2, 3)), (pulled[1] * v).sum((1, 2, 3))
    scale = (pulled[0] * v).sum((1, 2, 3))
    assert bool((scale > 0).all())
    assert float(((first - second).abs() / scale).max()) < 1e-3
    # without noise, the picture itself
    close = own.denoise(own.mean(grid) + 0.1 * n[:2], 1e-4)
    torch.testing.assert_close(close, own.mean(grid) + 0.1 * n[:2], rtol=0, atol=1e-3)
    assert float((own.covariance(n[:1]).square().sum() / n[:1].square().sum()).sqrt()) <= own.max_eigenvalue(grid) * (
        1 + 1e-5
    )


def test_a_smoke_run_makes_at_least_one_step_of_each_solver():
    methods = [{"name": name, "prior": "gaussian"} for name in SOLVERS]
    recipe = smoke_recipe(load_recipe("quickstart", [f"eval.methods={json.dumps(methods)}"]), lambda _: None)
    steps = {method.title: method.steps for method in recipe.eval.methods}
    assert steps == {**dict.fromkeys(SOLVERS, 10), "repaint": 1, "dps": 5, "pigdm": 5, "mmps": 2, "tds": 1}


def test_a_prior_that_is_a_file_makes_the_rows_of_its_run(prior, tmp_path):
    export(prior, file := tmp_path / "prior.safetensors")
    tables = [evaluate(prior, ["degradation.name=sparse-random", rows(one, "repaint")], "cpu") for one in (prior, file)]
    a, b = ([row["metrics"]["psnr"]["value"] for row in table["rows"]] for table in tables)
    assert a == pytest.approx(b, abs=0.02) and a != []
