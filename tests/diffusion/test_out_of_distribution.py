"""Measurements unlike those of the training are told, those like them are not, and old checkpoints keep quiet."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.evaluations import Coins
from support.messages import missing, raises, warns
from support.runs import go
from torch import Tensor

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.gaussian_fields import Fields
from invkit.diffusion import Diffusion
from invkit.diffusion.model import ConditionalModel, Constants
from invkit.diffusion.networks import NETWORKS
from invkit.diffusion.out_of_distribution import bounds, statistics, warning
from invkit.experiment.run import evaluate, load
from invkit.experiment.trained_model import Trained, rebuild
from invkit.physics.gaussian import MaternField
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement, Noise
from invkit.physics.operators.mask import Mask
from invkit.recipe.recipe import load_recipe
from invkit.training.checkpoint import Checkpoint
from invkit.training.initialise import build_model
from invkit.training.problem import Problem

GRID = Grid(8, 8)
CPU = torch.device("cpu")
NETWORK = NETWORKS["fno-unet"](channels=8, mult=(1,), blocks=1, modes=2, embedding=8)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem({GRID: Fields(train_size=256).open("train", GRID, 0)}, Coins(), Noise(), 0)


@pytest.fixture(scope="module")
def model(problem) -> ConditionalModel:
    return build_model(problem, NETWORK, Diffusion(), "float32", CPU)


def measured(problem: Problem, change=lambda x: x, share: float = 0.3) -> Measurement:
    """200 test pictures of the law that was trained on, changed and measured."""
    x = change(Fields(test_size=200).open("test", GRID, 0)[range(200)])
    return replace(problem, degradation=Coins(share=share)).measure(x, Keys.of(9, "test", range(200)), GRID)


def said(model: ConditionalModel, measurement: Measurement) -> str:
    return (
        warning(
            model.statistics(measurement, model.initial_estimate(measurement)),
            model.constants.training_ranges,
            tolerated=0.01,
        )
        or ""
    )


def test_the_statistics_are_what_they_say():
    prior, keys = MaternField(length=0.3, std=0.5, color=0.5), Keys.of(0, "s", range(3))
    fill = keys.normal("fill", *GRID.picture)
    x, size = fill.double().flatten(1).numpy(), 3 * 64
    pixels = (
        prior.covariance(torch.eye(size, dtype=torch.float64).view(-1, *GRID.picture), GRID).view(size, size).numpy()
    )
    for channels in (1, 3):
        mask = Mask(keys.uniform(f"mask of {channels}", channels, *GRID.shape) < 0.3, 3)
        found = statistics(fill, Measurement(mask, mask.forward(fill)), prior).T
        seen = mask.observed.expand(-1, 3, -1, -1).flatten(1).sum(1).numpy()
        np.testing.assert_allclose(found[0], seen / size, rtol=1e-12)
        np.testing.assert_allclose(found[1], (x**2).mean(1) / pixels.diagonal().mean(), rtol=1e-6)
        np.testing.assert_allclose(found[2], (x * np.linalg.solve(pixels, x.T).T).sum(1) / seen, rtol=1e-3)
        for picture, want in zip(mask.observed.numpy(), found[3], strict=True):
            apart = [
                np.abs(np.argwhere(channel >= 0)[:, None] - np.argwhere(channel)).max(2).min(1) for channel in picture
            ]
            assert float(want) == pytest.approx(np.concatenate(apart).mean() / 8)


def test_the_roughness_of_kriged_draws_of_the_prior_is_one():
    prior, keys = MaternField(length=0.3), Keys.of(0, "r", range(100))
    mask = Mask(keys.uniform("mask", 1, *GRID.shape) < 0.3)
    measurement = Measurement(mask, mask.forward(prior.sample(keys, GRID)))
    found = statistics(GaussianPosterior(prior, measurement).mean(), measurement, prior)[:, 2]
    assert float(found.mean()) == pytest.approx(1, abs=4 * (2 / (100 * 3 * 19)) ** 0.5)


def test_bounds_are_quantiles_of_each_statistic():
    values = Keys.of(0, "v", range(300)).uniform("v", 4).double()
    np.testing.assert_allclose(bounds(values), np.quantile(values, [0.005, 0.995], axis=0).T)


def test_images_of_the_training_distribution_are_in_distribution(model, problem):
    assert said(model, measured(problem)) == ""


@pytest.mark.parametrize(
    ("change", "share", "words"),
    [
        (lambda x: 4 * x, 0.3, "more contrast or another brightness than in training"),
        (lambda x: x / 20, 0.3, "less contrast than in training"),
        (lambda x: x + 3, 0.3, "more contrast or another brightness than in training"),
        (lambda x: x * (torch.arange(64).view(8, 8) % 2 * 2 - 1), 0.3, "more fine detail"),  # of the same contrast
        (lambda x: x, 0.8, "more values measured than in training"),
        (lambda x: x, 0.1, "fewer values measured than in training"),
    ],
)
def test_other_contrast_brightness_roughness_and_masks_are_not(model, problem, change, share, words):
    text = said(model, measured(problem, change, share))
    assert "\n" not in text
    assert words in text
    assert int(text.split()[0]) > 20


def test_one_of_many_is_chance(model, problem):
    known = model.constants.training_ranges
    values = known.mean(1).repeat(200, 1)
    values[:2] *= 100
    assert warning(values, known, tolerated=0.01) is None
    assert not missing(warning(values, known), "2 of 200")
    values[2] *= 100
    assert not missing(warning(values, known, "test pictures", tolerated=0.01), "3 of 200", "test pictures")


def test_it_travels_with_the_constants_and_may_be_missing(model):
    tensors = model.constants.tensors()
    assert torch.equal(Constants.of(tensors).training_ranges, model.constants.training_ranges)
    old = {name: x for name, x in tensors.items() if name != "training_ranges"}
    assert Constants.of(old).training_ranges is None
    assert Constants.of(old).tensors().keys() == old.keys()
    ranges = tensors["training_ranges"]
    assert torch.equal(Constants.of(old | {"familiar": ranges}).training_ranges, ranges)  # as earlier versions named it
    of_three = Constants.of(old | {"familiar": ranges[:3]}).training_ranges
    assert torch.equal(of_three[:3], model.constants.training_ranges[:3]) and of_three[3, 0] == 0
    assert of_three.isfinite().all() and of_three[3, 1] > 1e300  # what is not finite would not be saved again
    settings = load_recipe("quickstart")
    with raises(DataError, "--fresh"):
        rebuild(settings, Checkpoint(1, {"constants": tensors | {"training_ranges": torch.zeros(2)}}, {}))


def test_a_trained_model_warns_and_an_old_one_cannot(model, problem):
    trained = Trained(load_recipe("quickstart", ["sample.steps=1"]), model, CPU, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained.mean(measured(problem)[:3])
        old = ConditionalModel(NETWORK, Diffusion(), replace(model.constants, training_ranges=None))
        Trained(trained.recipe, old, CPU, 1).mean(measured(problem, lambda x: 9 * x))
    asked: list[Tensor] = []
    for ask in (trained.mean, lambda m: trained.sample(m, 1)):
        with warns(2, "contrast") as caught:
            asked.append(ask(measured(problem, lambda x: 9 * x)[:2]))
        assert caught[0].filename == __file__  # the line that asked


def test_an_evaluation_warns_once_for_each_degradation_and_grid(recipe):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = go(recipe, "train.steps=1", "eval.metrics=[psnr]", "data={name: fields, train_size: 64}")
    assert load(folder).model.constants.training_ranges.shape == (4, 2)
    with warns(5, "sparse-random", "16x16", "more values measured") as caught:
        table = evaluate(folder, ["degradation.fraction=0.6"], "cpu")
    assert len(caught) == 1
    json.dumps(table)


def test_more_sensors_on_the_domain_are_told_though_they_are_the_same_share(model, problem):
    fine = Grid(24, 24)
    x = Fields(test_size=200).open("test", fine, 0)[range(200)]
    measurement = problem.measure(x, Keys.of(9, "test", range(200)), fine)
    found, known = model.statistics(measurement, model.initial_estimate(measurement)), model.constants.training_ranges
    assert float(found[:, 0].mean()) == pytest.approx(0.3, abs=0.01)
    assert "closer together than in training" in said(model, measurement)
    assert bool((found[:, 3] < known[3, 0] / 1.25).all())
