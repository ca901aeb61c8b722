"""A new plugin installs, conforms, tests itself and runs before a line of it is changed."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.messages import missing, raises

from invkit.cli.plugins import KINDS as OFFERED
from invkit.core.errors import RecipeError
from invkit.plugins.loader import registry
from invkit.plugins.scaffold import KINDS, names, new_plugin


@pytest.mark.parametrize(
    "text", ["my_blur", "my-blur", "My Blur", "invkit-my.blur", "MY__BLUR", "_my_blur_", "invkit_my_blur"]
)
def test_a_name_as_people_write_it(text):
    assert names(text) == {
        "name": "my-blur", "stem": "my_blur", "module": "invkit_my_blur", "distribution": "invkit-my-blur", "cls": "MyBlur",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "-", "3d", "a/b", "../x", "blür", "a'b", "a\nb", "x" * 61])
def test_what_is_no_name(text, stand_ins, tmp_path):
    with raises(RecipeError, repr(text), "my-blur"):
        new_plugin(text, tmp_path / "x", stand_ins, "0.1.0")
    assert not (tmp_path / "x").exists()


def test_names_that_are_taken(tmp_path):
    with raises(RecipeError, "'sparse-grid'", "sparse (invkit 0.1.0)"):
        new_plugin("sparse_grid", tmp_path / "x", registry(), "0.1.0")
    with raises(RecipeError, "invkit_sparse"):
        new_plugin("sparse", tmp_path / "x", registry(), "0.1.0")
    assert not (tmp_path / "x").exists()


def test_an_empty_folder_is_filled_and_any_other_refused(stand_ins, tmp_path, write):
    (tmp_path / "empty").mkdir()
    new_plugin("my_blur", tmp_path / "empty", stand_ins, "0.1.0")
    file = write("mine", "full/notes")
    for taken in (tmp_path / "full", tmp_path / "empty", file):
        with raises(RecipeError, taken, "invkit plugins new my_blur DIR"):
            new_plugin("my_blur", taken, stand_ins, "0.1.0")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes"]
    assert file.read_text() == "mine"


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_half_written_stays(exists, stand_ins, tmp_path, monkeypatch):
    folder, write_text, written = tmp_path / "new", Path.write_text, []
    if exists:
        folder.mkdir()

    def fail(self, *arguments):
        if len(written) == 3:
            raise OSError("the disk is full")
        written.append(self)
        return write_text(self, *arguments)

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="full"):
        new_plugin("my_blur", folder, stand_ins, "0.1.0")
    assert len(written) == 3
    assert list(tmp_path.rglob("*")) == ([folder] if exists else [])


def test_every_kind_conforms_as_it_is_made_and_its_recipe_is_valid(invkit, tmp_path):
    assert set(KINDS) == set(OFFERED)
    for kind in OFFERED[1:]:
        code, out, err = invkit("plugins", "new", f"my_{kind}", tmp_path / kind, "--kind", kind)
        assert code == 0 and out.strip() == str(tmp_path / kind), err
        module = tmp_path / kind / f"invkit_my_{kind}.py"
        code, out, err = invkit("plugins", "check", f"my-{kind}", "--plugin", module)
        assert (code, err) == (0, "") and " ok " in out
        code, out, err = invkit("validate", tmp_path / kind / f"recipes/my_{kind}.yaml", "--plugin", module)
        assert (code, "ok" in out) == (0, True), err
        assert f"check_{KINDS[kind]}(My{kind.title()})" in (tmp_path / kind / f"tests/test_my_{kind}.py").read_text()


def test_it_conforms_runs_and_tests_itself_as_it_is(stand_ins, distribution, invkit, tmp_path, monkeypatch):
    """As its README says; that it builds and installs is tested with docs/tutorials/write_a_plugin.md."""
    project = new_plugin("my_blur", tmp_path / "project", stand_ins, "0.1.0")
    made = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
    points = "\n".join(f"{name} = {module}" for name, module in made["entry-points"]["invkit"].items())
    source = (project / "invkit_my_blur.py").read_text("utf-8")
    distribution(made["name"], {"invkit_my_blur.py": source}, f"[invkit]\n{points}\n")
    monkeypatch.chdir(project)
    readme = (project / "README.md").read_text("utf-8")
    commands = ["plugins check my-blur", "run recipes/my_blur.yaml --smoke"]
    assert all(f"invkit {command}" in readme for command in commands)
    check, run = (
        invkit(*command.split(), *more) for command, more in zip(commands, ((), ("--device", "cpu")), strict=True)
    )
    assert check[0] == run[0] == 0
    assert "adjoint" in check[1] and not missing(run[1], "gaussian mean", "model sample")
    row = next(line for line in invkit("plugins")[1].splitlines() if line.startswith("my-blur "))
    assert row.split()[1:3] == ["degradation", "invkit-my-blur"] and row.split()[4] == "ok"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr
