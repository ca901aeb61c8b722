"""What several tests share: a registry of stand-ins, so that recipes are tested without installed plugins."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import Field

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: the workers have the cores already
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from support import runs

from invkit.cli import main as cli
from invkit.core.device import set_determinism
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.core.settings import PathSetting
from invkit.data.base import Dataset, Images, Split
from invkit.physics.degradation import Degradation
from invkit.physics.operators.base import LinearOperator
from invkit.plugins.loader import load, registry
from invkit.plugins.registry import Registry


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: with several processes none waits for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_quickstart.py")


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
    own = {"degradation": {"sparse-random": Some, "both": Both}, "dataset": {"photos": Folder, "images": Folder}}
    return Registry({**load([]).classes, **own})


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file into a temporary folder."""

    def write(text: str | bytes, name: str = "r.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture(autouse=True)
def _relaxed() -> Iterator[None]:
    """Strict determinism, which a run may ask for, ends with the test."""
    yield
    if torch.are_deterministic_algorithms_enabled():
        set_determinism(False)


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory) -> Path:
    """A run of `runs.RECIPE`, for all tests of a process; nobody writes into it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(runs.RECIPE)
    return runs.go(folder / "tiny.yaml")


@pytest.fixture
def run_copy(trained_run, recipe) -> Path:
    """A copy of that run, where `runs.go` of the recipe puts it."""
    return shutil.copytree(trained_run, recipe.parent / "run")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(runs.RECIPE)
    return path


@pytest.fixture
def invkit(capsys):
    """Runs the command line in this process: exit code, stdout, stderr."""

    def invkit(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.main([str(argument) for argument in arguments])
        return caught.value.code, *capsys.readouterr()

    return invkit


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Installs distributions as pip does, a module with its dist-info, into a folder on `sys.path` and `PYTHONPATH`.

    Gives the folder.
    """
    folder, modules = tmp_path / "site", set(sys.modules)
    folder.mkdir()

    def install(name: str, files: dict[str, str], entries: str | bytes, metadata: str | None = None) -> Path:
        for file, source in files.items():
            (folder / file).write_text(source, "utf-8")
        info = folder / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n" if metadata is None else metadata
        (info / "METADATA").write_text(text, "utf-8")
        (info / "entry_points.txt").write_bytes(entries if isinstance(entries, bytes) else entries.encode())
        monkeypatch.syspath_prepend(str(folder))  # again: what Python has seen of the folder is out of date
        registry.cache_clear()
        return folder

    monkeypatch.delenv("INVKIT_PLUGINS", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    yield install
    registry.cache_clear()
    for module in set(sys.modules) - modules:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(str(folder)):
            del sys.modules[module]
