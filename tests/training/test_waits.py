"""The host does not wait for the device in a training step, a mean or a sample, and launches few operations."""

import pytest
from invkit_sparse import CenterPixels
from support.trainers import trainer

from invkit.diffusion import Sample
from invkit.diffusion.samplers import SAMPLERS
from invkit.experiment.run import profiled
from invkit.physics.degradation import Degradation
from invkit.physics.operators.mask import Mask
from invkit.recipe.recipe import load_recipe
from invkit.training.profiling import count_inference, count_step


def counted(t, sample=Sample(steps=3)):  # noqa: B008
    next(t.run())  # matrices are computed that are kept
    return {"step": count_step(t), **count_inference(t, sample)}


@pytest.fixture(scope="module")
def trained():
    return trainer()


def test_nothing_waits_for_the_device(trained):
    counts = counted(trained)
    assert {what: dict(found.waits) for what, found in counts.items()} == {"step": {}, "mean": {}, "sample": {}}


@pytest.mark.parametrize("method", SAMPLERS)
def test_samplers_do_not_wait(trained, method):
    assert not count_inference(trained, Sample(method=SAMPLERS[method](), steps=2))["sample"].waits


def test_other_masks_neither():
    counts = counted(trainer(degradation=CenterPixels(fraction=0.9)))  # kriged by the hidden pixels
    assert not any(found.waits for found in counts.values())


class Untold(Degradation):
    """Masks that do not state their numbers of pixels."""

    def sample(self, keys, grid):
        return Mask(keys.uniform("u", 1, *grid.shape) < 0.3, grid.channels)


def test_a_mask_is_read_once_where_it_does_not_state_its_numbers():
    counts = counted(trainer(degradation=Untold()))
    assert {what: sum(found.waits.values()) for what, found in counts.items()} == {"step": 1, "mean": 1, "sample": 1}


@pytest.mark.parametrize(("recipe", "most"), [("quickstart", 1260), ("cifar10_sparse", 2060)])
def test_a_step_takes_few_operations(recipe, most):
    t = profiled(load_recipe(recipe, ["data=photos", "train.batch=2", "model.channels=16"]), "cpu")
    next(t.run())
    found = count_step(t)
    assert not found.waits
    assert sum(found.operations.values()) <= most, found.operations
    assert found.operations["random"] <= 110 and found.operations["optimiser"] <= 210
