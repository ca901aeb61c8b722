import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.messages import raises

from invkit.core.errors import PluginError, RecipeError
from invkit.data.photos import Photos
from invkit.evaluation.report.images import CELL, GAP, HEADER
from invkit.experiment.preview import GRID, PHOTOS, save_preview
from invkit.physics.degradation import Degradation
from invkit.physics.operators.base import LinearOperator
from invkit.physics.operators.mask import Mask
from invkit.plugins.registry import Origin


class Left(Degradation):
    """The left half."""

    share: float = 0.5
    fault: bool = False

    def sample(self, keys, grid):
        if self.fault:
            raise KeyError("oh")
        if self.share > 1:
            raise ValueError("too much")
        seen = torch.arange(grid.width) < self.share * grid.width
        return Mask(seen.expand(len(keys), 1, *grid.shape), grid.channels)


class Sums(Degradation):
    """Sums over columns: no picture, on a scale of its own."""

    def sample(self, keys, grid):
        return ColumnSums(len(keys), grid)


class ColumnSums(LinearOperator):
    def __init__(self, count, grid):
        self.count, self._grid = count, grid

    @property
    def grid(self):
        return self._grid

    @property
    def range_shape(self):
        return self.grid.channels, self.grid.width

    def forward(self, x):
        return x.sum(2)

    def adjoint(self, y):
        return y[:, :, None].expand(-1, -1, self.grid.height, -1) / self.grid.area

    def pinv(self, y):
        return y[:, :, None].expand(-1, -1, self.grid.height, -1) / self.grid.height

    def __len__(self):
        return self.count


@pytest.fixture
def found(stand_ins):
    origins = {("degradation", "left"): Origin("left", "invkit-left", "1.2")}
    return replace(stand_ins, classes={"degradation": {"left": Left, "sums": Sums}}, origins=origins)


def cells(path):
    """The cells of a sheet, by row and column, back on the grid: [row][column] -> (H, W, 3) bytes."""
    sheet, side = np.asarray(Image.open(path).convert("RGB")), 2 * CELL
    corners = [[(HEADER + r * (side + GAP), GAP + c * (side + GAP)) for c in range(3)] for r in range(len(PHOTOS))]
    step = side // GRID.height
    return [[sheet[y : y + side : step, x : x + side : step] for y, x in row] for row in corners]


def test_photo_measurement_and_pseudo_inverse_stand_side_by_side(found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = save_preview(found, "left", ["share=0.25"], None)
    assert str(path) == "left.png"
    truth = Photos().open("test", GRID, 0)[PHOTOS]
    for x, (photo, seen, back) in zip(truth, cells(path), strict=True):
        expected = ((x.permute(1, 2, 0).numpy() + 1) * 127.5).round()
        assert np.abs(photo - expected).max() <= 1
        assert np.abs(seen[:, :16] - expected[:, :16]).max() <= 1
        assert np.array_equal(back[:, :16], photo[:, :16])
        assert np.abs(back[:, 16:] - 127.5).max() <= 1  # zero is grey


def test_a_range_that_is_no_picture_is_shown_on_its_own_scale(found, tmp_path):
    path = save_preview(found, "sums", [], tmp_path / "sums.png")
    _, seen, back = cells(path)[0]
    sums = Photos().open("test", GRID, 0)[PHOTOS].sum(2)
    shown = ((sums - sums.min()) / (sums.max() - sums.min()) * 255).mean(1)[0]  # three rows, one a channel, to one grey
    assert seen.shape[2] == 3
    assert np.abs(seen.mean(0).mean(-1) - shown.numpy()).max() <= 1
    assert np.array_equal(back[0], back[-1])


def test_only_its_own_pictures_are_replaced(found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_preview(found, "left", [], None)
    first = (tmp_path / "left.png").read_bytes()
    save_preview(found, "left", ["share=0.1"], None)
    assert (tmp_path / "left.png").read_bytes() != first
    stream = io.BytesIO()
    Image.new("RGB", (2, 2)).save(stream, "PNG")
    for theirs in (stream.getvalue(), b"notes"):
        (tmp_path / "left.png").write_bytes(theirs)
        with raises(RecipeError, "left.png", "--picture FILE"):
            save_preview(found, "left", [], None)
        assert (tmp_path / "left.png").read_bytes() == theirs


def test_what_cannot_be_drawn(found, tmp_path):
    file = tmp_path / "x.png"
    with raises(RecipeError, "left", "too much"):
        save_preview(found, "left", ["share=2"], file)
    with raises(RecipeError, "share=x", "share"):
        save_preview(found, "left", ["share=x"], file)
    with raises(PluginError, "left", "invkit-left 1.2", "KeyError: 'oh'"):
        save_preview(found, "left", ["fault=true"], file)
    assert not file.exists()
