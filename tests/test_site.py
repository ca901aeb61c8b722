"""The documentation site is built without a warning, and its reference has every key, command, name and hook."""

import os
import re
import subprocess
import sys

import click
import pytest
import reference
import yaml
from support import DOCS, ROOT

from invkit.cli.main import cli
from invkit.plugins.loader import registry
from invkit.plugins.registry import HOOKS, KINDS
from invkit.recipe.recipe import load_recipe


def build(source, target):
    """What Sphinx prints, with every warning an error."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(source), str(target)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    return done.returncode, done.stdout + done.stderr


def test_the_site_is_built_without_a_warning(tmp_path):
    code, text = build(DOCS, tmp_path / "site")
    assert code == 0, text
    pages = {page.relative_to(tmp_path / "site").as_posix() for page in (tmp_path / "site").rglob("*.html")}
    sources = {page.relative_to(DOCS).with_suffix(".html").as_posix() for page in DOCS.rglob("*.md")}
    assert sources - pages == {page for page in sources if page.startswith("_build/")}


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "conf.py").write_text("extensions = ['myst_parser']\nmyst_heading_anchors = 4\n", "utf-8")
    (tmp_path / "index.md").write_text("# A\n\n[b](b.md) and [c](#nowhere)\n", "utf-8")
    code, text = build(tmp_path, tmp_path / "_build")
    assert code
    assert "b.md" in text and "nowhere" in text


def paths(node, path=""):
    """The paths of all values of a mapping, down to what has a name of its own or is a list."""
    for key, value in node.items():
        if isinstance(value, dict) and "name" not in value:
            yield from paths(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def test_every_key_of_a_recipe_is_documented():
    text = reference.recipe()
    keys = set(paths(yaml.safe_load(load_recipe("quickstart").dump())))
    assert len(keys) > 50
    assert {key for key in keys if f"\n| `{key}` | " not in text} == set()
    assert not re.findall(r"^\| `\S+` \|  \|", text + reference.values() + reference.gallery(), re.M), "no meaning"


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_and_its_settings_are_documented(kind):
    text = reference.gallery() if kind == "degradation" else reference.values()
    for name, cls in registry().names(kind).items():
        section = text.split(f"({kind}-{name})=\n")[1].split("\n#")[0]
        assert all(f"| `{key}" in section for key in cls.model_fields), name


def test_every_command_and_option_is_documented():
    text = reference.commands()

    def visit(command, path):
        own = text.split(f"## `{path}`\n")[1].split("\n## ")[0] if path != "invkit" else text
        for parameter in command.params:
            assert path == "invkit" or all(name in own for name in parameter.opts if name.startswith("-")), path
            assert not isinstance(parameter, click.Option) or parameter.help, f"{path} {parameter.opts}: no help"
        for name, child in getattr(command, "commands", {}).items():
            visit(child, f"{path} {name}")

    assert isinstance(cli, click.Group)
    visit(cli, "invkit")


def test_every_metric_and_hook_has_its_row_or_heading():
    page = (DOCS / "reference/metrics.md").read_text("utf-8")
    spoken = set(re.findall(r"^\| `(\w+)`", page, re.M)) | {
        f"coverage_{n}" for n in (50, 80, 90, 95) if f"_{n}`" in page
    }
    assert set(registry().names("metric")) - spoken == set()
    hooks = (DOCS / "reference/hooks.md").read_text("utf-8")
    assert {hook for hook in HOOKS if f"## `{hook}(" not in hooks} == set()


def test_every_degradation_has_a_formula_and_a_picture():
    for name, cls in registry().names("degradation").items():
        assert re.search(r"`y.* = .*`", cls.__doc__), f"{name}: no formula such as `y = A x` in its docstring"
        picture = DOCS / "reference/pictures" / f"{name}.png"
        assert name == "deepinv" or picture.is_file(), f"python docs/make_pictures.py {name}"
        assert name == "deepinv" or f"(pictures/{name}.png)" in reference.gallery()


def test_references_become_bibtex():
    text = reference.bibtex(
        "- Li, Z. et al. (2021). Fourier neural operator. *ICLR*.\n- Keys, R. G. (1981). Cubic. *IEEE* 29.\n"
    )
    assert "@misc{li2021,\n  author = {Li, Z. and others},\n  title = {{Fourier neural operator}}," in text
    assert "@misc{keys1981,\n  author = {Keys, R. G.}," in text and "howpublished = {IEEE 29}" in text
    page = (DOCS / "reference/references.md").read_text("utf-8")
    assert reference.bibtex().count("@misc") == len(re.findall(r"^- .*\(\d{4}\)", page, re.M)) > 60
