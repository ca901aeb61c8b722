import pytest
import torch
from support.messages import raises
from support.trainers import NETWORK, trainer

from invkit.core.errors import RecipeError
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion import SAMPLERS, Sample
from invkit.diffusion.energy_score import energy_score
from invkit.physics.gaussian import MaternField
from invkit.recipe.recipe import load_recipe
from invkit.training.settings import Train

FIELD, GRID, COUNT = MaternField(std=1.0, length=0.3), Grid(16, 16, 2), 4000


def draws(name):
    return FIELD.sample(Keys.of(0, name, range(COUNT)), GRID)


MUTANTS = {
    "10 % too narrow": lambda x: 0.9 * x,
    "10 % too wide": lambda x: 1.1 * x,
    "shifted": lambda x: x + 0.15,
    "pixels independent": lambda x: torch.stack([c.roll(i, 0) for i, c in enumerate(x.flatten(2).unbind(2))], 2).view_as(x),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_samples_of_the_true_field_have_the_lowest_score(mutant):
    x, a, b = draws("x"), draws("a"), draws("b")
    change = MUTANTS[mutant]
    worse = energy_score(change(a), change(b), x, None) - energy_score(a, b, x, None)
    assert float(worse.mean()) > 4 * float(worse.std()) / COUNT**0.5


def test_it_is_the_fair_crps_where_there_is_one_value():
    x, a, b = (torch.randn(5, 1, 1, 1, generator=torch.Generator().manual_seed(i)) for i in range(3))
    crps = ((a - x).abs() + (b - x).abs() - (a - b).abs()).view(-1) / 2
    torch.testing.assert_close(
        4 * energy_score(a, b, x, None), crps, rtol=0, atol=1e-3
    )  # one of four scales, two patches


def test_pixels_of_weight_zero_do_not_matter():
    x, a, b = (draws(name)[:3] for name in "xab")
    where = (Keys.of(0, "w", range(3)).uniform("u", 1, 16, 16) < 0.5).float()
    want = energy_score(a, b, x, where)
    torch.testing.assert_close(energy_score(a + 9 * (1 - where), b, x, where), want)
    assert not torch.allclose(energy_score(a + 9, b, x, where), want)


def one_step(t, count):
    """Samples by one call, the posterior mean, the images and the initial estimate of eight measurements."""
    x = t.problem.images[Grid(16, 16)][range(8)]
    measurement = t.problem.measure(x, Keys.of(0, "m", range(8)), Grid(16, 16))
    settings = Sample(method=SAMPLERS["one-step"](), steps=7)
    drawn = t.model.sample(measurement, Keys.of(0, "s", range(8)), count, settings)
    return drawn, t.model.mean(measurement), x, t.model.condition(measurement)


def test_before_the_training_a_sample_is_the_initial_estimate_plus_a_draw_of_the_residual_field():
    drawn, mean, x, condition = one_step(trainer({"one_step_share": 1.0}), 500)
    estimate = condition.estimate
    torch.testing.assert_close(mean, estimate.mean, rtol=0, atol=1e-6)
    assert condition.hidden is not None
    hidden = condition.hidden.expand_as(x) > 0
    spread = (drawn.std(0) / estimate.std)[hidden]
    assert float(spread.square().mean().sqrt()) == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(drawn[3][~hidden], x[~hidden], rtol=0, atol=1e-4)


def test_training_lowers_the_score_of_new_images():
    """The initial estimate is the mean colour, and its residual is drawn from a field that ignores the measurement."""
    network = NETWORK.model_copy(update={"fill": "mean", "dropout": 0.0})
    t = trainer({"one_step_share": 0.75, "steps": 60, "batch": 16, "mean_share": 1.0, "lr": 3e-3}, network=network)
    x = t.problem.images[Grid(16, 16)][range(50)]
    measurement = t.problem.measure(x, Keys.of(0, "m", range(50)), Grid(16, 16))

    def score():
        with torch.no_grad():
            return t.model.score(x, measurement, Keys.of(0, "s", range(50)))

    before = score()
    steps = [record.step for record in t.run()]
    gain = before - score()
    assert len(steps) == 60 and float(gain.mean()) > 3 * float(gain.std()) / 50**0.5


def test_a_sampler_that_the_model_was_not_trained_for_is_refused(recipe):
    with raises(ValueError, "one_step_share"):
        Train(one_step_share=0.5, clean=False)
    with raises(RecipeError, "one-step", "train.one_step_share=0.5"):
        load_recipe(recipe, ["sample.method=one-step"])
    assert load_recipe(recipe, ["sample.method=one-step", "train.one_step_share=0.5"]).sample.calls == 1
