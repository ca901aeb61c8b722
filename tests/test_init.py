"""The public functions do what the command line does, and cost nothing until they are used."""

import subprocess
import sys

from support.messages import raises
from support.runs import TINY

import invkit
from invkit.core.errors import RecipeError
from invkit.recipe.recipe import load_recipe


def test_imports_no_torch():
    code = "import sys, invkit; invkit.run, invkit.load, invkit.__version__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_every_public_name_is_there():
    assert all(getattr(invkit, name) is not None for name in invkit.__all__)
    with raises(AttributeError, "invkit", "Gird"):
        _ = invkit.Gird


def test_dir_shows_the_public_names():
    assert sorted(dir(invkit)) == sorted(invkit.__all__)


def test_progress_from_python(write, tmp_path, capsys):
    path, seen = write(TINY), []
    folder = invkit.run(path, out=tmp_path / "run", device="cpu", progress=lambda *both: seen.append(both))
    assert seen == [(1, 3), (2, 3), (3, 3), *[(n, total) for n, total in seen[3:]]]
    assert seen[-1] == (3, 3) and len(seen) > 3  # three images are evaluated
    assert not capsys.readouterr().err
    invkit.evaluate(folder, ["eval.samples=3"], device="cpu", progress=True)
    assert "images" in capsys.readouterr().err


def test_run_evaluate_load(write, tmp_path):
    path = write(TINY.replace("steps: 3", "steps: 2"))
    folder = invkit.run(path, ["seed=1"], out=tmp_path / "run", device="cpu")
    table = invkit.evaluate(folder, device="cpu")
    assert table["images"] == 3
    trained = invkit.load(str(folder), device="cpu")
    assert (trained.step, trained.recipe.seed) == (2, 1)
    again = invkit.run(load_recipe(path, ["seed=1"]), out=str(tmp_path / "run"), device="cpu")  # the same run
    assert again == folder
    with raises(RecipeError, "load_recipe"):
        invkit.run(load_recipe(path), ["seed=1"])
