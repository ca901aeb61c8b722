"""A new plugin installs, conforms, tests itself and runs before a line of it is changed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from invkit.core.errors import RecipeError
from invkit.plugins.loader import registry
from invkit.plugins.scaffold import names, new_plugin


@pytest.mark.parametrize(
    "text", ["my_blur", "my-blur", "My Blur", "invkit-my.blur", "MY__BLUR", "_my_blur_", "invkit_my_blur"]
)
def test_a_name_as_people_write_it(text):
    assert names(text) == {
        "name": "my-blur", "stem": "my_blur", "module": "invkit_my_blur", "distribution": "invkit-my-blur", "cls": "MyBlur",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "-", "3d", "a/b", "../x", "blür", "a'b", "a\nb", "x" * 61])
def test_what_is_no_name(text, stand_ins, tmp_path):
    with pytest.raises(RecipeError, match="is no name for a plugin; take letters"):
        new_plugin(text, tmp_path / "x", stand_ins, "0.1.0")
    assert not (tmp_path / "x").exists()


def test_names_that_are_taken(tmp_path):
    with pytest.raises(RecipeError, match=r"'sparse-grid' is provided by sparse \(invkit .*\) already"):
        new_plugin("sparse_grid", tmp_path / "x", registry(), "0.1.0")
    with pytest.raises(RecipeError, match="a module invkit_sparse is installed already"):
        new_plugin("sparse", tmp_path / "x", registry(), "0.1.0")
    assert not (tmp_path / "x").exists()


def test_an_empty_folder_is_filled_and_any_other_refused(stand_ins, tmp_path, write):
    (tmp_path / "empty").mkdir()
    new_plugin("my_blur", tmp_path / "empty", stand_ins, "0.1.0")
    file = write("mine", "full/notes")
    for taken in (tmp_path / "full", tmp_path / "empty", file):
        with pytest.raises(RecipeError, match="exists and is not empty; name another"):
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


ONE_PROCESS = """
import sys, pytest
from invkit.cli.main import main
for line in sys.argv[1:]:
    try:
        main(line.split())
    except SystemExit as stop:
        assert not stop.code, line
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider"]))
"""  # importing torch again for each would take longer than all the rest


def test_from_nothing_to_a_table(stand_ins, tmp_path):
    """Built and installed into a folder of its own, offline; then check, tests and smoke recipe, as its README says."""
    project, site = tmp_path / "project", tmp_path / "site"
    new_plugin("my_blur", project, stand_ins, "0.1.0")
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    environment.pop("INVKIT_PLUGINS", None)

    def python(*arguments):
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=project, env=environment, timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    offline = ("--no-index", "--no-deps", "--no-build-isolation")
    python("-m", "pip", "install", "-q", *offline, "--target", site, ".")
    commands = ["plugins", "plugins check my-blur", "run recipes/my_blur.yaml --smoke --device cpu"]
    readme = (project / "README.md").read_text("utf-8")
    assert all(f"invkit {command.removesuffix(' --device cpu')}" in readme for command in commands[1:])
    out = python("-c", ONE_PROCESS, *commands)
    row = next(line for line in out.splitlines() if line.startswith("my-blur "))
    assert row.split()[1:5] == ["degradation", "invkit-my-blur", "0.1.0", "ok"]
    for said in ("adjoint", "gaussian mean", "model sample", "2 passed"):
        assert said in out
