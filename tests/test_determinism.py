"""What cannot be deterministic on CUDA is named on any machine."""

import warnings

import pytest
import torch

from invkit.api import Degradation, Grid, Keys, LinearOperator, Mask
from invkit.cli.main import main
from invkit.plugins.loader import registry
from invkit.recipe.determinism import refused_on_cuda
from invkit.testing.examples import bases

GRID = Grid(8, 8)


class Histogram(Degradation):
    """Keeps pixels by the histogram of a draw."""

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        rank = keys.permutation("pixels", grid.pixels)
        torch.bincount(rank.flatten())  # of integers: any order is the same
        most = torch.histc(rank.float(), bins=4).argmax()
        return Mask((rank > most).view(-1, 1, *grid.shape))


class Weighted(Degradation):
    """Counts with weights."""

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        rank = keys.permutation("pixels", grid.pixels)
        weight = torch.bincount(rank.flatten(), weights=torch.ones(rank.numel()))
        weight.median(0)
        return Mask((rank < weight.median() + 9).view(-1, 1, *grid.shape))


@pytest.mark.parametrize(
    ("law", "refused"), [(Histogram(), ["histc"]), (Weighted(), ["bincount", "median"])], ids=["histc", "weights"]
)
def test_named(law, refused):
    assert refused_on_cuda(law, GRID) == refused


def test_an_adjoint_by_autograd_is_seen():
    """The adjoint of a resampling, as torch computes it."""
    from dataclasses import dataclass

    @dataclass(frozen=True, eq=False)
    class Smaller(LinearOperator):
        batch: int
        grid = GRID
        range_shape = (3, 4, 4)

        def __len__(self):
            return self.batch

        def forward(self, x):
            return torch.nn.functional.interpolate(x, size=(4, 4), mode="bicubic")

        def adjoint(self, y):
            with torch.enable_grad():
                x = torch.zeros(len(y), *GRID.picture, requires_grad=True)
                return torch.autograd.grad(self.forward(x), x, y)[0]

        pinv = adjoint

    class Bicubic(Degradation):
        """Bicubic."""

        def sample(self, keys, grid):
            return Smaller(len(keys))

    assert refused_on_cuda(Bicubic(), GRID) == ["upsample_bicubic2d_backward"]


@pytest.mark.parametrize("name", sorted(set(registry().names("degradation")) - {"deepinv"}))
def test_the_first_party_ones_are_deterministic(name):
    for law in bases(registry().names("degradation")[name]):
        assert refused_on_cuda(law, Grid(12, 12)) == []


def test_validate_says_it(tmp_path, capsys):
    plugin = tmp_path / "hist.py"
    plugin.write_text(
        """import torch
from invkit.api import Degradation, Mask, hookimpl

class Hist(Degradation):
    \"\"\"A histogram.\"\"\"
    def sample(self, keys, grid):
        rank = keys.permutation("p", grid.pixels)
        return Mask((rank > torch.histc(rank.float(), bins=4).argmax()).view(-1, 1, *grid.shape))

@hookimpl
def invkit_degradations():
    return {"hist": Hist}
"""
    )
    for mode, said in (("strict", True), ("fast", False)):
        recipe = tmp_path / f"{mode}.yaml"
        recipe.write_text(f"data: {{name: photos}}\ndegradation: {{name: hist}}\ntrain: {{determinism: {mode}}}\n")
        with warnings.catch_warnings(), pytest.raises(SystemExit) as end:
            main(["validate", str(recipe), "--plugin", str(plugin)])
        out, err = capsys.readouterr()
        assert end.value.code == 0 and out == f"{recipe}: ok\n"
        assert ("degradation hist: histc has no deterministic kernel on CUDA" in err) is said
