import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from invkit_blur import GaussianBlur
from invkit_superres import BlockMean
from invkit_tomography import Tomography
from support.evaluations import DEVIATION, GRID, Coins, Draws, Exact, Flat, protocol_of, row, table_of
from support.messages import raises
from torch import Tensor

from invkit.core.errors import NonFiniteError
from invkit.core.keys import Keys
from invkit.data.base import Images
from invkit.evaluation.evaluator import evaluate_rows
from invkit.evaluation.loop import _measured_bytes
from invkit.evaluation.settings import Eval
from invkit.physics.degradation import Degradation
from invkit.physics.measurement import Measurement, Noise, measure


def test_every_row_sees_the_same_measurements_and_only_those():
    first, second = Exact(), Exact("model")
    table_of(first, second, images=8, batch=4)
    for a, b in zip(first.shown, second.shown, strict=True):
        assert torch.equal(a.y, b.y)
        assert torch.equal(a.observed, b.observed)
        assert not a.y[~a.observed.expand_as(a.y)].any()


def test_the_batch_cut_changes_no_figure_and_no_mask():
    whole, cut = (table_of(Flat(), Exact(), images=20, samples=3, batch=batch) for batch in (20, 3))
    assert whole.table == cut.table
    assert whole.record == cut.record
    other = table_of(Flat(), images=20, seed=4)
    assert other.record["16x16"]["masks_sha256"] != whole.record["16x16"]["masks_sha256"]


class Bent(Draws):
    """Other images than those of `Draws`."""

    def __getitem__(self, ids: Sequence[int]) -> Tensor:
        return super().__getitem__(ids).abs()


class Grey(Flat):
    """An image of the grid, for any operator."""

    def mean(self, measurement: Measurement) -> Tensor:
        return torch.zeros(len(measurement), *measurement.grid.picture)


def test_what_was_measured_is_hashed():
    """The operator, its settings and the values: otherwise tables of different measurements would be paired."""

    def hashed(degradation: Degradation, images: Images = Draws(count=10), batch: int = 10) -> str:  # noqa: B008
        protocol = protocol_of(Eval(images=10, batch=batch), degradation=degradation)
        [entry] = evaluate_rows([Grey()], {images.grid: images}, protocol).record.values()
        return entry["masks_sha256"]

    variants = [
        [GaussianBlur(width=0.03), GaussianBlur(width=0.03001), GaussianBlur(width=0.15)],
        [BlockMean(factor=2), BlockMean(factor=4)],
        [Tomography(angles=8), Tomography(angles=9)],
        [Coins(), Coins(share=0.5)],
    ]
    every = [hashed(one) for kind in variants for one in kind]
    other = [hashed(kind[0], Bent(count=10)) for kind in variants]
    assert len({*every, *other}) == len(every) + len(other)
    for kind in variants:
        assert hashed(kind[0], batch=3) == hashed(kind[0]) == hashed(type(kind[0])(**kind[0].model_dump()))


def test_the_hash_does_not_depend_on_how_a_device_rounds():
    keys = Keys.of(0, "x", range(8))
    measurement = measure(GaussianBlur().sample(keys, GRID), keys.normal("y", *GRID.picture), Noise(), keys)
    moved = [replace(measurement, y=measurement.y * (1 + change)) for change in (3e-7, 3e-2)]
    same, other = [
        _measured_bytes(one, range(8), GaussianBlur()).equal(_measured_bytes(measurement, range(8), GaussianBlur()))
        for one in moved
    ]
    assert same and not other


@pytest.mark.parametrize("batch", [20, 3])
def test_a_few_pictures_are_kept_whatever_the_batch_cut(batch):
    result = table_of(Flat(), Exact(), images=20, samples=5, batch=batch)
    shapes = {f"{name}/{key}": values.shape for name, group in result.arrays.items() for key, values in group.items()}
    picture = (16, 3, 16, 16)
    assert shapes == {
        "truth/truth": picture,
        "truth/y": picture,
        "truth/observed": (16, 1, 16, 16),
        "truth/group": (16,),
        "flat/mean": picture,
        "gaussian/mean": picture,
        "gaussian/samples": (4, *picture),
    }
    np.testing.assert_array_equal(result.arrays["truth"]["truth"], Draws()[range(16)])


def test_fewer_pictures_than_asked_for_are_counted():
    result = table_of(Flat(), source=Draws(count=5))
    assert result.table["images"] == 5


def test_progress_counts_pictures_and_may_stop():
    heard = []
    table_of(Flat(), images=10, batch=4, progress=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (10, 10)
    assert heard == sorted(heard)
    assert {done for done, _ in heard} == {0, 4, 8, 10}

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table_of(Flat(), images=10, progress=stop)


def test_noise_is_measured_and_not_pasted():
    result = table_of(Flat(0), images=16, sigma=0.5)
    misfit = row(result, "flat", "point")["metrics"]["data_misfit"]["value"]
    assert misfit == pytest.approx(math.hypot(0.5, DEVIATION), rel=0.03)


def test_numbers_that_are_not_finite_are_named_and_not_averaged_away():
    class Broken(Exact):
        def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
            out = super().sample(measurement, keys, count)
            if len(self.shown) > 2:  # past the first batch
                out[-1, 1, 0, 0, 0] = math.nan
            return out

    with raises(NonFiniteError, "gaussian", "sample", 4, 7):
        table_of(Broken(), images=12, samples=2, batch=4)
