import torch
from invkit_sparse import RandomPixels
from support.trainers import trainer

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.gaussian_fields import Fields
from invkit.physics.measurement import Noise
from invkit.training.problem import Problem, image_ids, quantiles, query


def test_every_picture_once_an_epoch():
    ids = image_ids(0, torch.arange(150), 50)
    assert all(sorted(ids[i : i + 50]) == list(range(50)) for i in (0, 50, 100))
    assert ids[:50] != ids[50:100]
    assert image_ids(1, torch.arange(50), 50) != ids[:50]


def test_query_pixels_are_disjoint_and_counted():
    images = Fields().open("train", Grid(16, 16), 0)
    problem = Problem({Grid(16, 16): images}, RandomPixels(fraction=0.3), Noise(), 0)
    keys = Keys.of(0, "q", range(6))
    m = problem.measure(images[range(6)], keys, Grid(16, 16))
    chosen = query(m, keys, 0.2)
    assert chosen.sum((1, 2, 3)).tolist() == [51] * 6
    assert not (chosen * m.observed).any()
    everything = query(m, Keys.of(1, "q", range(6)), 1.0)
    assert torch.equal(everything.bool(), ~m.observed)
    assert next(trainer({"query_fraction": 0.2}).run()).loss != next(trainer().run()).loss


def test_noise_levels_are_spread_evenly_over_any_run_of_pictures():
    """Golden-ratio points: every run of n is about as even as a regular grid; independent draws are not."""
    for first, n in ((0, 32), (1000, 32), (12345, 256)):
        found = quantiles(3, torch.arange(first, first + n)).sort().values
        gaps = torch.cat([found, found[:1] + 1]).diff()
        assert float(gaps.max()) < 3 / n and float(gaps.min()) > 0.2 / n
        loose = torch.cat(
            [u := torch.rand(n, generator=torch.Generator().manual_seed(0)).sort().values, u[:1] + 1]
        ).diff()
        assert not (float(loose.max()) < 3 / n and float(loose.min()) > 0.2 / n)
    assert not torch.equal(quantiles(0, torch.arange(8)), quantiles(1, torch.arange(8)))
    parts = torch.cat([quantiles(0, torch.arange(4)), quantiles(0, torch.arange(4, 8))])
    assert torch.equal(parts, quantiles(0, torch.arange(8)))
