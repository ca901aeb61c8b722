"""What several tests share: a registry of stand-ins, so that recipes are tested without installed plugins."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import Field

from invkit.data.base import Dataset, Images, Split
from invkit.degradation import Degradation
from invkit.grid import Grid
from invkit.keys import Keys
from invkit.operators import LinearOperator
from invkit.plugins import Registry
from invkit.settings import PathSetting


class Some(Degradation):
    """Some pixels."""

    fraction: float = Field(0.1, gt=0, le=1, description="share of pixels observed")

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        raise NotImplementedError


class Both(Degradation):
    """One degradation after another."""

    first: Degradation
    others: tuple[Degradation, ...] = ()

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        raise NotImplementedError


class Folder(Dataset):
    """A folder of pictures."""

    root: PathSetting = ""
    more: tuple[PathSetting, ...] = ()

    def open(self, split: Split, grid: Grid, seed: int) -> Images:
        raise NotImplementedError


@pytest.fixture
def stand_ins() -> Registry:
    return Registry({"sparse-random": Some, "both": Both}, {"photos": Folder, "images": Folder})


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file into a temporary folder."""

    def write(text: str | bytes, name: str = "r.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write
