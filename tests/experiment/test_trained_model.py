"""A trained model is asked on any grid, for any number of pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.messages import missing, raises
from support.models import build

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion import Sample
from invkit.diffusion.samplers import EulerMaruyama
from invkit.experiment.trained_model import Trained
from invkit.physics.gaussian.points import on_cells
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.points import binned, measure_points
from invkit.recipe.recipe import load_recipe


@pytest.fixture
def trained(write) -> Trained:
    recipe = load_recipe(write("data: photos\ndegradation: sparse-random\nsample: {method: heun, steps: 2}\n"))
    return Trained(recipe, build(perturb=0.02), torch.device("cpu"), 0)


def points(grid: Grid, batch: int = 1, count: int = 40):
    """Values of smooth functions, at the cells that contain the points."""
    return binned(scattered(grid, batch, count))


def scattered(grid: Grid, batch: int = 1, count: int = 40):
    keys = Keys.of(0, "points", range(batch))
    coordinates = keys.uniform("at", count, 2)
    waves = torch.stack([(3 * coordinates[..., 0]).sin(), (4 * coordinates[..., 1]).cos(), coordinates.prod(-1)], -1)
    return measure_points(coordinates, waves * 0.8, grid)


@pytest.mark.parametrize("shape", [(16, 16), (24, 24), (48, 48), (17, 23), (33, 12), (5, 40)])
def test_any_grid(trained, shape):
    m = points(Grid(*shape))
    found = trained.posterior(m, 3, seed=1)
    assert found.mean.shape == (1, 3, *shape) and found.samples.shape == (3, 1, 3, *shape)
    assert bool(found.mean.isfinite().all() and found.samples.isfinite().all())
    seen = m.observed.expand_as(m.y)
    assert torch.equal(found.mean[seen], m.y[seen]) and torch.equal(found.samples[2][seen], m.y[seen])
    assert (found.samples[0] - found.samples[1])[~seen].abs().max() > 1e-3


def test_the_same_points_on_a_finer_grid_give_the_same_picture(trained):
    coarse, fine = (trained.mean(points(Grid(n, n), count=60)) for n in (16, 48))
    down = torch.nn.functional.avg_pool2d(fine, 3)
    assert (down - coarse).abs().mean() < 0.25 * (coarse - coarse.mean((2, 3), keepdim=True)).abs().mean()


def test_batches_larger_than_memory_are_worked_on_in_parts(trained, monkeypatch):
    m = points(Grid(16, 16), batch=5)
    whole = trained.posterior(m, 3, seed=2)
    seen = []
    monkeypatch.setattr("invkit.diffusion.passes.cells_at_once", lambda device: 2 * 256)
    monkeypatch.setattr(trained.model, "mean", lambda part, estimate: seen.append(len(part)) or part.y)
    parts = trained.sample(m, 3, seed=2)
    trained.mean(m)
    assert seen == [2, 2, 1]
    torch.testing.assert_close(parts, whole.samples, rtol=1e-4, atol=1e-4)


def test_every_part_is_kriged_once(trained, monkeypatch):
    """The out-of-distribution check, the mean and the samples share one initial estimate."""
    ranges = torch.tensor([[0.0, 9.0]] * 3 + [[0.1, 0.2]], dtype=torch.float64)
    trained.model.constants = replace(trained.model.constants, training_ranges=ranges)
    m = points(Grid(16, 16), batch=5)
    gain, solved = GaussianPosterior.gain, []
    monkeypatch.setattr("invkit.diffusion.passes.cells_at_once", lambda device: 2 * 256)
    monkeypatch.setattr(GaussianPosterior, "gain", lambda self, r: solved.append(self) or gain(self, r))
    for ask in (lambda: trained.posterior(m, 2), lambda: trained.mean(m), lambda: trained.sample(m, 2)):
        solved.clear()
        ask()
        assert len(solved) == 3


def test_samples_are_a_function_of_seed_and_ids(trained):
    m = points(Grid(16, 16), batch=3)
    three = trained.sample(m, 2, 5, [7, 8, 9])
    torch.testing.assert_close(trained.sample(m[1:2], 2, 5, [8]), three[:, 1:2], rtol=1e-4, atol=1e-4)
    assert (trained.sample(m[1:2], 2, 5) - three[:, 1:2]).abs().max() > 1e-2
    assert (trained.sample(m, 2, 6, [7, 8, 9]) - three).abs().max() > 1e-2


def test_tiles_of_several_pictures(trained):
    m = points(Grid(20, 40), batch=2, count=300)
    both = trained.posterior(m, 2, tiles=True)
    one = trained.posterior(m[1:2], 2, ids=[1], tiles=True)
    torch.testing.assert_close(both.samples[:, 1:2], one.samples, rtol=1e-4, atol=1e-4)
    seen = m.observed.expand_as(m.y)
    assert torch.equal(both.mean[seen], m.y[seen])


@pytest.mark.parametrize("tiles", [False, True])
def test_grey_points_for_a_model_of_colours(trained, tiles):
    m = measure_points(torch.rand(9, 2), torch.zeros(9, 1), Grid(16, 16, 1))
    with raises(ValueError, 3, 1):
        trained.posterior(m, 2, tiles=tiles)


def test_points_are_taken_at_their_coordinates(trained):
    """Moving them within their cells changes the result; the samples spread over the cells that contain points."""
    m = scattered(Grid(16, 16))
    there, centred = trained.posterior(m, 6), trained.posterior(binned(m), 6)
    seen = binned(m).observed.expand_as(there.mean)
    assert (there.mean - centred.mean)[seen].abs().max() > 0.02
    cells = on_cells(trained.model.estimate_prior, m)
    torch.testing.assert_close(there.mean, trained.mean(cells))
    assert bool((there.deviation[seen] > 0).all()) and not centred.deviation[seen].any()
    assert there.deviation[seen].mean() < 0.5 * there.deviation[~seen].mean()


def test_samples_of_points_are_the_same_in_any_portions(trained):
    m = scattered(Grid(16, 16), batch=2)
    drawing = trained.drawing(m, 3, [7, 8])
    whole = drawing.samples(4)
    torch.testing.assert_close(torch.cat([drawing.samples(1), drawing.samples(3, 1)]), whole, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(trained.sample(m[1:], 4, 3, [8]), whole[:, 1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tiles", [False, True])
def test_samples_of_masks_are_the_same_in_any_portions(trained, tiles):
    m = points(Grid(20, 24), batch=2, count=200)
    drawing = trained.drawing(m, 3, [7, 8], tiles)
    whole = drawing.samples(4)
    assert torch.equal(whole, trained.posterior(m, 4, 3, [7, 8], tiles).samples)
    torch.testing.assert_close(torch.cat([drawing.samples(1), drawing.samples(3, 1)]), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tiles", [False, True])
def test_progress_counts_every_network_call(trained, tiles, monkeypatch):
    m = points(Grid(24, 24), batch=2, count=200)
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr("invkit.diffusion.passes.cells_at_once", lambda device: 3 * 576)
    trained.posterior(m, 5, tiles=tiles, steps=3, progress=lambda done, total: seen.append((done, total)))
    size = 2 * (4 if tiles else 1)
    assert {total for _, total in seen} == {size * (1 + 5 * 5)}  # three steps of heun are five calls
    assert [done for done, _ in seen] == sorted({done for done, _ in seen}) and seen[-1][0] == seen[-1][1]
    seen.clear()
    trained.sample(m, 2, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (2 * 2 * 3, 2 * 2 * 3)


def test_numpy_numbers_are_numbers(trained):
    """A seed from NumPy is the same seed; a size is a grid."""
    at, values = np.random.default_rng(0).random((30, 2)), np.zeros((30, 3))
    m = measure_points(at, values, 16)
    assert m.grid == Grid(16, 16, 3) and measure_points(at, values, (np.int64(8), 9)).grid == Grid(8, 9, 3)
    want = trained.sample(m, 2, 1, [5])
    assert torch.equal(trained.sample(m, np.int64(2), np.int64(1), np.array([5])), want)
    for given in (values, "points", None):
        with raises(ValueError, "measurement", type(given).__name__, "measure_points"):
            trained.mean(given)
    with raises(ValueError, "seed", 0.5):
        trained.sample(m, 1, 0.5)
    with raises(ValueError, "grid", "wide"):
        measure_points(at, values, "wide")
    with raises(ValueError, "height", 8.5):
        Grid(8.5, 9)


def test_public_objects_have_short_names(trained):
    m = scattered(Grid(16, 24), batch=2)
    posterior = trained.posterior(m, 3)
    for value in (trained, m, binned(m), m.operator, posterior):
        assert len(repr(value)) < 160 and "\n" not in repr(value) and "tensor(" not in repr(value)
    assert not missing(repr(trained), "sparse-random", "32x32", 3, "cpu")
    assert not missing(repr(posterior), 2, 3, "3x16x24", "16x24")


@pytest.mark.parametrize("of", [scattered, points])
def test_a_posterior_is_saved(trained, tmp_path, of):
    posterior = trained.posterior(of(Grid(16, 16), batch=2), 19)
    path = posterior.save(tmp_path / "new" / "result", 90)
    assert path == tmp_path / "new" / "result.npz"
    with np.load(path, allow_pickle=False) as saved:
        arrays = dict(saved)
    lower, upper = posterior.interval(90)
    own = {"coordinates", "values"} if of is scattered else {"y", "observed"}
    assert set(arrays) == {"mean", "samples", "deviation", "lower", "upper", *own}
    for name, want in (("mean", posterior.mean), ("samples", posterior.samples), ("lower", lower), ("upper", upper)):
        np.testing.assert_array_equal(arrays[name], want)
        assert arrays[name].dtype == np.float32
    assert "lower" not in np.load(posterior.save(str(tmp_path / "r.npz")))
    with raises(ValueError, "95 %"):
        posterior.save(tmp_path / "x", 95)


def test_sampler_and_steps(trained):
    m = points(Grid(16, 16))
    recipe = trained.recipe.model_copy(update={"sample": Sample(method=EulerMaruyama(), steps=4)})
    want = replace(trained, recipe=recipe).sample(m, 2)
    for sampler in ("em", EulerMaruyama()):
        assert torch.equal(trained.sample(m, 2, sampler=sampler, steps=4), want)
        assert torch.equal(trained.posterior(m, 2, sampler=sampler, steps=4).samples, want)
    assert not torch.equal(trained.sample(m, 2), want)
    with raises(ValueError, "sampler", "'huen'", "'heun'"):
        trained.sample(m, 2, sampler="huen")
    with raises(ValueError, "steps", 0):
        trained.sample(m, 2, steps=0)
    with raises(ValueError, "samples", 0):
        trained.sample(m, 0)
    with raises(ValueError, "progress"):
        trained.sample(m, 1, progress="yes")


def test_the_default_type_of_torch_does_not_matter(trained):
    m = points(Grid(16, 16), batch=2)
    expected = trained.posterior(m, 3, seed=1)
    torch.set_default_dtype(torch.float64)
    try:
        again = Trained(trained.recipe, build(perturb=0.0), trained.device, 0)
        again.model.load_state_dict(trained.model.state_dict())
        for model in (trained, again):
            found = model.posterior(m, 3, seed=1)
            assert torch.equal(found.mean, expected.mean) and torch.equal(found.samples, expected.samples)
    finally:
        torch.set_default_dtype(torch.float32)
