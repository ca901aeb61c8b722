"""The JSON schema accepts what recipes may say and rejects mistakes that types and limits can tell."""

import re
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator
from support import ROOT

from invkit.core.errors import RecipeError
from invkit.plugins.entry_points import entries
from invkit.plugins.loader import load
from invkit.recipe.recipe import load_recipe
from invkit.recipe.schema import recipe_schema, schema_text
from invkit.recipe.yaml_reader import read

RECIPES = ROOT / "recipes"
SHIPPED = sorted(RECIPES.rglob("*.yaml"))
HEAD = "data: photos\ndegradation: sparse-random\n"


@pytest.fixture(scope="module")
def ours():
    """What invkit itself provides, whatever else is installed."""
    return load(entry for entry in entries() if entry[0] == "invkit")


@pytest.fixture(scope="module")
def schema(ours):
    return Draft202012Validator(recipe_schema(ours))


def test_it_is_a_schema(schema):
    Draft202012Validator.check_schema(schema.schema)


def test_the_shipped_schema_is_up_to_date(ours):
    """Where another plugin of ours changed it, write it anew: `INVKIT_PLUGINS` may have to leave out those of others."""
    assert (RECIPES / "schema.json").read_text("utf-8") == schema_text(ours), (
        "recipes/schema.json is out of date; write it anew: invkit validate --schema recipes/schema.json"
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid_and_point_there(path, schema):
    schema.validate(read(path.read_bytes(), str(path)).data)
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", path.read_text("utf-8").splitlines()[0])
    assert found, f"{path} does not begin with `# yaml-language-server: $schema=...`"
    assert (path.parent / found[1]).resolve() == RECIPES / "schema.json"


GOOD = [
    "",
    "model: unet",
    "model: {channels: 16}",
    "model: {name: unet, channels: 16}",
    "eval: {methods: [gaussian, {name: model}], metrics: [psnr], grids: [32, [32, 48]]}",
    "eval: {grids: null}",
    "eval: {metrics: [crps@4, coverage_90@all, {name: spread_skill, block: 8}, {name: crps}]}",
    "diffusion: {field: {name: matern, exponent: 2}, schedule: vp-cosine}",
    "sample: {method: {name: heun, churn: 1.5}}",
    "train: {lr: 1e-3, muon_lr: null}",
]
BAD = [
    "sead: 1",
    "seed: -1",
    "seed: one",
    "seed: 1.5",
    "model: unnet",
    "model: {name: unnet}",
    "model: {name: unet, modes: 3}",
    "model: {chanels: 16}",
    "model: {channels: 12}",
    "model: [unet]",
    "noise: {sigma: 11}",
    "noise: 0.1",
    "train: {step: 3}",
    "train: {lr: 0}",
    'train: {steps: "3"}',
    "train: {grids: []}",
    "train: {grids: [[32]]}",
    "eval: {methods: model}",
    "eval: {methods: []}",
    "eval: {metrics: [psnrr]}",
    "eval: {metrics: [psnr@4]}",
    "eval: {metrics: [crps@0]}",
    "eval: {metrics: [crps@half]}",
    "sample: {method: heunn}",
    "diffusion: {schedule: matern}",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_is_right_is_accepted_by_both(text, schema, ours, write):
    assert schema.is_valid(read((HEAD + text).encode(), "").data)
    load_recipe(write(HEAD + text), registry=ours)


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_is_rejected_by_both(text, schema, ours, write):
    assert not schema.is_valid(read((HEAD + text).encode(), "").data)
    with pytest.raises(RecipeError):
        load_recipe(write(HEAD + text), registry=ours)


def test_sections_that_are_needed(schema):
    assert schema.is_valid({"data": "photos", "degradation": "sparse-random"})
    assert not schema.is_valid({"data": "photos"})
    assert not schema.is_valid({"data": {}, "degradation": "sparse-random"})


def test_fields_that_hold_degradations(stand_ins):
    """Nested choices, lists of them, and names that cannot stand alone because a setting is required."""
    schema = Draft202012Validator(recipe_schema(stand_ins))

    def accepts(degradation):
        return schema.is_valid({"data": "photos", "degradation": degradation})

    some = {"name": "sparse-random", "fraction": 0.5}
    assert accepts({"name": "both", "first": some})
    assert accepts({"name": "both", "first": "sparse-random", "others": [some, {"name": "both", "first": some}]})
    assert not accepts("both")
    assert not accepts({"name": "both"})
    assert not accepts({"name": "both", "first": {"name": "sparse-random", "fraction": 2}})
    assert not accepts({"name": "both", "first": some, "others": some})


def test_a_class_without_a_docstring(stand_ins):
    class Bare(stand_ins.get("degradation", "sparse-random")):
        fraction: float = 0.5

    Bare.__doc__ = None
    schema = Draft202012Validator(
        recipe_schema(replace(stand_ins, classes={**stand_ins.classes, "degradation": {"bare": Bare}}))
    )
    assert schema.is_valid({"data": "photos", "degradation": "bare"})


def test_descriptions_limits_and_defaults(schema):
    definitions = schema.schema["$defs"]
    named = definitions["degradation"]["oneOf"]
    (center,) = [one for one in named if one.get("properties", {}).get("name") == {"const": "sparse-center"}]
    share = center["properties"]["block"]
    assert share["description"] == "side of a central square block, relative to the shorter side"
    assert share["anyOf"][0] == {"exclusiveMinimum": 0, "maximum": 1, "type": "number"}
    assert definitions["Train"]["properties"]["clip"]["default"] == 1.0
    assert schema.schema["properties"]["model"]["default"]["name"] == "fno-unet"
