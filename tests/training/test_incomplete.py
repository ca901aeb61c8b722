"""Training without clean images: what is known of an image, how it is completed, and where it cannot work."""

from dataclasses import dataclass, replace
from math import nan

import pytest
import torch
from invkit_sparse import CenterPixels, GridPixels, RandomPixels
from support.messages import raises
from support.trainers import CPU, NETWORK, SETTINGS, weights

from invkit.core.errors import NonFiniteError, RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.base import Images
from invkit.data.gaussian_fields import Fields
from invkit.diffusion.settings import Diffusion
from invkit.physics.gaussian import FittedField, MaternField
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.mask import Mask
from invkit.training.incomplete import MeasuredImages, check_masks, complete, fit_incomplete, hold, measurement_of
from invkit.training.initialise import build_model
from invkit.training.problem import Problem
from invkit.training.settings import Train
from invkit.training.trainer import Trainer
from invkit.training.validation import validate_measured

GRID = Grid(16, 16)
LAW = MaternField(std=0.5, length=0.25, exponent=2.5, color=0.5)
MASKS = RandomPixels(fraction=0.3)


@dataclass(frozen=True, eq=False)
class Changed(Images):
    """Images with another value at every pixel that the measurements `like` do not contain, or at every other."""

    images: Images
    like: Images
    value: float
    unmeasured: bool = True
    grid = GRID

    def __len__(self):
        return len(self.images)

    def __getitem__(self, ids):
        x = self.images[ids]
        return torch.where(self.like[ids].isnan() == self.unmeasured, torch.full_like(x, self.value), x)

    def group(self, image_id):
        return self.images.group(image_id)


def opened(count=60):
    return Fields(field=LAW, train_size=count).open("train", GRID, 0)


def trained(images, noise=0.0, leak=False):
    problem = Problem({GRID: images}, MASKS, Noise(sigma=noise), 0, (0.3, 0.6))
    if leak:
        problem = replace(problem, held=None)
    train = Train(**{**SETTINGS, "steps": 3, "clean": False, "flip": True})
    t = Trainer(problem, build_model(problem, NETWORK, Diffusion(), "float32", CPU, 24), train, CPU)
    list(t.run())
    return [*t.model.constants.tensors().values(), *weights(t)]


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_no_unmeasured_pixel_reaches_a_constant_or_a_weight(noise):
    """Whatever the unmeasured pixels hold, every bit is the same; trained on the images themselves, it is not."""
    images = opened()
    measured = MeasuredImages(images, MASKS, Noise(sigma=noise), 0)
    plain = trained(measured, noise)
    poisoned = trained(MeasuredImages(Changed(images, measured, nan), MASKS, Noise(sigma=noise), 0), noise)
    assert all(torch.equal(a, b) for a, b in zip(plain, poisoned, strict=True)) and all(
        x.isfinite().all() for x in plain
    )
    if not noise:
        leaks = trained(images, leak=True), trained(Changed(images, measured, 0.3), leak=True)
        assert not all(torch.equal(a, b) for a, b in zip(*leaks, strict=True))


def test_a_measurement_is_the_same_in_every_epoch_and_another_for_each_image():
    images = MeasuredImages(opened(), MASKS, Noise(sigma=0.1), 0)
    assert torch.equal(images[[3, 4]].nan_to_num(9), images[[4, 3]].flip(0).nan_to_num(9))
    known = ~images[range(20)].isnan()
    assert known.sum((1, 2, 3)).tolist() == [3 * round(0.3 * 256)] * 20 and len(known.flatten(1).unique(dim=0)) == 20
    noise = (images[range(20)] - opened()[range(20)])[known]
    assert float(noise.std()) == pytest.approx(0.1, rel=0.05)
    with raises(NonFiniteError, "not finite"):
        MeasuredImages(Changed(opened(), images, nan, unmeasured=False), MASKS, Noise(), 0)[[0]]


def test_query_pixels_are_a_part_of_the_measured_ones_and_the_rest_is_shown():
    measured = measurement_of(MeasuredImages(opened(), MASKS, Noise(), 0)[range(40)], 0.0)
    shown, query = hold(measured, Keys.of(0, "h", range(40)), (0.75, 0.75))
    assert torch.equal(shown.observed | query.bool(), measured.observed) and not (shown.observed & query.bool()).any()
    assert query.sum((1, 2, 3)).tolist() == [round(0.75 * 77)] * 40 and not shown.y[query.expand_as(shown.y) > 0].any()
    assert not torch.equal(query, hold(measured, Keys.of(1, "h", range(40)), (0.75, 0.75))[1])
    counts = hold(measured, Keys.of(0, "h", range(40)), (0.1, 0.9))[1].sum((1, 2, 3)) / 77
    assert 0.08 < float(counts.min()) < 0.25 and 0.75 < float(counts.max()) < 0.92
    two = Measurement(
        Mask(
            torch.zeros(1, 1, 16, 16, dtype=torch.bool).index_fill(3, torch.tensor([0]), True)
            & (torch.arange(16) < 2).view(1, 1, 16, 1)
        ),
        torch.zeros(1, 3, 16, 16),
    )
    assert (
        hold(two, Keys.of(0, "h", [0]), (0.01, 0.01))[1].sum()
        == hold(two, Keys.of(0, "h", [0]), (0.99, 0.99))[1].sum()
        == 1
    )


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_completed_images_are_draws_of_the_posterior(noise, monkeypatch):
    """With the contrast of the field, mean and variance are those of the exact posterior."""
    x = LAW.sample(Keys.of(0, "x", [0]), GRID)
    one = measure(MASKS.sample(Keys.of(0, "m", [0]), GRID), x, Noise(sigma=noise), Keys.of(0, "n", [0]))
    monkeypatch.setattr(GaussianPosterior, "loo_error", lambda self, weights: torch.ones(weights.shape[1]))
    field = FittedField.of(LAW.spectrum(GRID), torch.zeros(3).double(), GRID)
    many = Measurement(one.operator.repeat(2000), one.y.repeat(2000, 1, 1, 1), noise)
    draws = complete(many, field, Keys.of(0, "d", range(2000)))
    exact = GaussianPosterior(field, one)
    mean, variance = exact.mean()[0], exact.variance()[0]
    hidden = (~one.observed[0]).expand_as(mean)
    assert float(((draws.mean(0) - mean) / variance.sqrt())[hidden].square().mean().sqrt()) < 0.04
    assert float((draws.var(0) / variance)[hidden].mean()) == pytest.approx(1, abs=0.02)
    if not noise:
        assert torch.equal(draws[0][~hidden], one.y[0][~hidden])


def kriging_error(field, images, measurement):
    hidden = (~measurement.observed).expand_as(images)
    return float((GaussianPosterior(field, measurement).mean() - images)[hidden].square().mean().sqrt())


@pytest.mark.parametrize(("share", "noise"), [(0.1, 0.0), (0.3, 0.2)])
def test_the_field_of_measured_pixels_is_nearly_that_of_the_images(share, noise):
    """Its large modes are right within 20 %, and kriging with it is at most 2 % worse than with the law.

    Two fits that ignore the masks: hidden pixels at the mean colour, and that with its power divided by the measured share.
    """
    masks, images = RandomPixels(fraction=share), opened(2000)
    field = fit_incomplete(MeasuredImages(images, masks, Noise(sigma=noise), 0), noise, 0, 256)
    test = LAW.sample(Keys.of(1, "test", range(40)), GRID)
    m = measure(
        RandomPixels(fraction=0.1).sample(Keys.of(1, "m", range(40)), GRID), test, Noise(), Keys.of(1, "n", range(40))
    )
    best = kriging_error(LAW, test, m)
    assert kriging_error(field, test, m) < 1.02 * best
    power = (field.modes / LAW.spectrum(GRID)).diagonal().mean(-1)[:4, :4]
    assert float(power.log().abs().mean()) < 0.2
    filled = measurement_of(MeasuredImages(images, masks, Noise(sigma=noise), 0)[range(2000)], noise).y
    for wrong in (filled, filled / share**0.5):
        assert kriging_error(FittedField.fit(wrong, GRID), test, m) > 1.04 * best


def test_a_loss_on_what_is_shown_teaches_nothing():
    measured = MeasuredImages(opened(), MASKS, Noise(), 0)
    problem = Problem({GRID: measured}, MASKS, Noise(), 0, (0.5, 0.5))
    model = build_model(problem, NETWORK, Diffusion(), "float32", CPU, 24)
    keys = Keys.of(0, "e", range(8))
    x, shown, query = problem.example(measured[range(8)], keys, GRID, model.prior)
    for where, learns in ((query, True), (shown.observed.float(), False)):
        model.zero_grad()
        model.loss(x, shown, keys.child("a"), torch.linspace(0, 0.9, 8), mean_share=0.5, weight=where).sum().backward()
        norm = sum(float(p.grad.norm()) for p in model.parameters() if p.grad is not None)
        assert (norm > 0) == learns


def test_validation_scores_the_query_pixels():
    """A model of kriging under the law has the CRPS of the Gaussian posterior of the law; noise counts."""
    for noise in (0.0, 0.3):
        measured = MeasuredImages(opened(), MASKS, Noise(sigma=noise), 0)
        problem = Problem({GRID: measured}, MASKS, Noise(sigma=noise), 0, (0.5, 0.5))

        class Exact(torch.nn.Linear):
            def sample(self, shown, keys, count, sample):
                return GaussianPosterior(LAW, shown).sample(keys, count)

        from invkit.diffusion import Sample
        from invkit.evaluation.settings import Eval

        table = validate_measured(Exact(1, 1), problem, Sample(), Eval(samples=8))
        score = table["rows"][0]["metrics"]["crps"]["value"]
        full = measurement_of(measured[range(60)], noise)
        shown, query = hold(full, Keys.of(0, "validation", range(60)).child("held"), (0.5, 0.5))
        spread = (GaussianPosterior(LAW, shown).variance(Keys.of(0, "v", range(60))) + noise**2).sqrt()
        expected = float((spread * query).sum() / query.sum() / 3) / 2 / torch.pi**0.5
        assert score == pytest.approx(expected, rel=0.05)


def test_masks_that_do_not_tell_the_images_are_refused():
    check_masks(RandomPixels(fraction=0.1), GRID, 0)
    check_masks(RandomPixels(fraction=(0.05, 0.4)), Grid(24, 32), 0)
    with raises(RecipeError, "train.clean", "0 pairs of measured pixels are", "at random"):
        check_masks(GridPixels(stride=3, offset="random"), GRID, 0)
    with raises(RecipeError, "never measured"):
        check_masks(CenterPixels(fraction=0.6), GRID, 0)
    with raises(RecipeError, "pairs of measured pixels"):
        check_masks(RandomPixels(fraction=0.005), GRID, 0)
    with raises(RecipeError, "at most 4096 measured pixels", "train.grids"):
        check_masks(RandomPixels(fraction=0.9), Grid(72, 72), 0)


def test_settings_that_contradict_each_other():
    for wrong in ({"grids": (16, 32)}, {"query_fraction": 0.1}, {"held": 1.0}, {"held": (0.5, 0.2)}):
        with raises(ValueError, "clean=false" if "held" not in wrong else "held"):
            Train(clean=False, **wrong)
