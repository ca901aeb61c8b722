"""Every installed degradation, every physics of DeepInverse and every example of the docs: a smoke run, to its report."""

import re
from html import unescape
from typing import get_args

import pytest
import yaml
from support import DOCS, ROOT
from support.runs import TINY

from invkit.evaluation.report.page import shown
from invkit.plugins.loader import registry
from invkit.recipe.recipe import load_recipe
from invkit.recipe.resolve import plain
from invkit.testing.examples import bases

DEGRADATIONS = registry().names("degradation")
FAST = ("denoise", "sparse-grid", "degradations-0")
PHYSICS = get_args(DEGRADATIONS["deepinv"].model_fields["physics"].annotation)
ADAPTED = """
from collections.abc import Mapping
from typing import Any
from invkit.api import Degradation, Grid, Keys, LinearOperator, Mask, hookimpl
import torch

class Adapted(Degradation):
    settings: dict[str, Any] = {}

    def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
        return Mask(torch.arange(grid.width).expand(len(keys), 1, *grid.shape) % 2 == 0, grid.channels)

@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {"adapted": Adapted}
"""


def examples():
    """The degradations in the docs, without that of the tutorial's plugin."""
    for page in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        text = page.read_text("utf-8")
        blocks = map(yaml.safe_load, re.findall(r"^```yaml\n(.*?)^```$", text, re.M | re.S))
        inline = map(yaml.safe_load, re.findall(r"`(\{name: (?:[^`{}]|\{[^{}]*\})*\})`", text))
        found = [*(block["degradation"] for block in blocks if "degradation" in block), *inline]
        for number, node in enumerate(node for node in found if node["name"] in DEGRADATIONS):
            yield f"{page.stem}-{number}", node


def cases():
    yield from examples()
    for name, cls in DEGRADATIONS.items():
        if name not in ("deepinv", "compose", "mixture"):  # the docs have examples of the last two
            yield name, {"name": name} | plain(bases(cls)[0], registry())
    for physics in PHYSICS:
        yield f"deepinv-{physics}", {"name": "deepinv", "physics": physics}


def smoke(invkit, write, folder, node, *options):
    """The degradation as the report of a smoke run states it."""
    if node["name"] == "deepinv":
        pytest.importorskip("deepinv.physics")
    recipe = write(
        TINY.replace(
            "{name: sparse-random}", yaml.safe_dump(node, default_flow_style=True, sort_keys=False, width=1000).strip()
        )
    )
    code, _, err = invkit("run", recipe, "--smoke", "--device", "cpu", "--out", folder / "run", *options)
    assert code == 0, err
    page = unescape((folder / "run" / "report.html").read_text("utf-8"))
    return "".join(re.search(r"measurements by <b>(.*)</b>(.*)", page).groups())


def test_no_name_and_no_example_is_left_out():
    assert {node["name"] for _, node in cases()} == DEGRADATIONS.keys()
    assert {name for name, _ in examples()} >= {"deepinv-0", "degradations-0", "degradations-1", "degradations-2"}


@pytest.mark.parametrize(
    "node",
    [pytest.param(node, id=name, marks=() if name in FAST else pytest.mark.slow) for name, node in cases()],
)
def test_it_runs_to_its_report(invkit, write, tmp_path, node):
    said = smoke(invkit, write, tmp_path, node)
    assert said.startswith(node["name"])
    resolved = plain(load_recipe(str(tmp_path / "run" / "resolved.yaml")), registry())["degradation"]
    assert said == shown(resolved)


def test_a_mapping_as_a_setting(invkit, write, tmp_path):
    node = {"name": "adapted", "settings": {"sigma": 2.0, "deep": {"name": 3, "of": [1, {}]}, "none": None}}
    said = smoke(invkit, write, tmp_path, node, "--plugin", write(ADAPTED, "adapted.py"))
    assert said == "adapted (settings: {sigma: 2.0, deep: {name: 3, of: [1, {}]}})"


def test_parts_are_shown_with_their_names():
    node = {"name": "compose", "of": [{"name": "nothing"}, {"name": "blur", "width": 0.1, "<": "&"}]}
    assert shown(node) == "compose (of: [nothing, blur (width: 0.1, <: &)])"
