import subprocess
import sys

import pytest
from support.messages import raises

from invkit.core.errors import RecipeError
from invkit.recipe import read as lookup
from invkit.recipe.yaml_reader import MAX_BYTES


@pytest.fixture
def shipped(monkeypatch, write):
    """Two installed recipes in a package of their own."""
    package = write("a: 1\n", "pkg/recipes/quickstart.yaml").parent.parent
    write("a: 2\n", "pkg/recipes/deep/other.yaml")
    monkeypatch.setattr(lookup, "PACKAGE", package)
    return package / "recipes"


def test_every_yaml_in_the_recipes_folder_is_installed(shipped):
    assert set(lookup.installed()) == {"quickstart", "deep/other"}


def test_a_development_install_has_its_recipes_beside_the_package(monkeypatch, write):
    beside = write("a: 1\n", "repo/recipes/dev.yaml")
    package = beside.parent.parent / "invkit"
    package.mkdir()
    monkeypatch.setattr(lookup, "PACKAGE", package)
    assert lookup.installed() == {"dev": beside}


def test_as_given_then_among_the_installed(shipped, write, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("quickstart", "quickstart.yaml", "recipes/quickstart.yaml"):
        assert lookup.find(name) == shipped / "quickstart.yaml"
    assert lookup.find("deep/other.yaml") == shipped / "deep/other.yaml"
    own = write("b: 1\n", "recipes/quickstart.yaml")
    assert lookup.find("recipes/quickstart.yaml").resolve() == own


@pytest.mark.parametrize(
    "name", ["quickstart.yml", "recipes/quickstart.yml", "mine/quickstart.yaml", "quickstart.yaml.yml"]
)
def test_a_missing_file_is_never_the_installed_recipe_of_its_stem(shipped, monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    with raises(RecipeError, f"{name}:1:1", "there is no such recipe", "quickstart"):
        lookup.find(name)


def test_did_you_mean(shipped, write):
    with raises(RecipeError, "quikstart:1:1", "'quickstart'"):
        lookup.find("quikstart")
    near = write("", "mine.yaml")
    with raises(RecipeError, f"'{near}'"):
        lookup.find(near.with_name("mne.yaml"))
    with raises(RecipeError, "zzz:1:1", "deep/other, quickstart"):
        lookup.find("zzz")


@pytest.mark.parametrize(
    ("raw", "said"),
    [(b"", ()), (b"- a\n", ()), (b"hello\n", ()), (b"\x89PNG\r\n\x1a\n", ("UTF-8",)), (b"a: " * MAX_BYTES, ("1 MiB",))],
)
def test_what_is_no_recipe_at_all(write, raw, said):
    path = write(raw)
    with raises(RecipeError, f"{path}:1:1", *said):
        lookup.read_recipe(path)


def test_a_folder_is_no_recipe(tmp_path):
    with raises(RecipeError, tmp_path):
        lookup.read_recipe(tmp_path)


def test_imports_no_torch():
    code = "import sys, invkit.recipe.read; sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
