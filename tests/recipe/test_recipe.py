"""The real recipe: its sections, the mistakes people make in it, and every recipe that ships."""

import time

import pytest
from support import ROOT
from support.messages import missing, raises

from invkit.core.errors import RecipeError
from invkit.plugins.loader import registry
from invkit.plugins.registry import KINDS
from invkit.recipe.read import installed
from invkit.recipe.recipe import load_recipe

HEAD = "data: photos\ndegradation: sparse-random\n"
SHIPPED = sorted((ROOT / "recipes").rglob("*.yaml"))


@pytest.fixture
def load(stand_ins, write):
    def load(text, *overrides):
        return load_recipe(write(text), overrides, stand_ins)

    return load


def test_two_sections_are_enough(load):
    recipe = load(HEAD)
    assert recipe.seed == 0
    assert recipe.noise.sigma == 0
    assert recipe.name == "r"
    assert recipe.text == HEAD


def test_overrides_go_through_the_schema(load):
    recipe = load(HEAD, "train.steps=7", "train.grids=[16, 32]", "model.name=unet", "sample.method.name=heun")
    assert (recipe.train.steps, recipe.train.grids) == (7, (16, 32))
    assert type(recipe.model).__name__ == "UNetSettings"
    with raises(RecipeError, "command line: train.steps=x: train.steps", "'x'"):
        load(HEAD, "train.steps=x")


def test_the_dump_loads_to_an_equal_recipe(load):
    overrides = ("data.root=yes", "train.lr=1e-5", "model.name=unet", "eval.methods=[model, nearest]")
    recipe = load(HEAD, *overrides)
    again = load(recipe.dump())
    assert again == recipe
    assert again.dump() == recipe.dump()
    assert again != load(HEAD)
    for text in ("1e-4", "010", "yes", "~", "true", "a: b", "*x", "ä", "1:30"):  # strings that look like something else
        made = load(HEAD).model_copy(update={"data": recipe.data.model_copy(update={"root": "/" + text, "more": ()})})
        assert load(made.dump()) == made


def test_settings_of_earlier_versions_load_at_their_default_value_only(load):
    """Every resolved.yaml of an old run names them."""
    old = "sample: {steps: 3, coarse: []}\ndiffusion: {loss: {weight: x0, whiten: null}}\n"
    assert load(HEAD + old) == load(HEAD, "sample.steps=3", "diffusion.loss.weight=x0")
    assert "coarse" not in load(HEAD + old).dump()
    with pytest.raises(RecipeError) as error:
        load(HEAD + old.replace("[]", "[16]").replace("null", "0.1"))
    assert [line.split(": ", 1)[1] for line in str(error.value).splitlines()] == [
        "sample: 'coarse' is a setting of earlier versions, got [16]; leave it out",
        "diffusion.loss: 'whiten' is a setting of earlier versions, got 0.1; leave it out",
    ]


MISTAKES = {  # what is written: the place, the key path or none, and what else has to be stated
    "misspelt section": (HEAD + "trian: {steps: 3}\n", "3:1", "trian", "'train'"),
    "misspelt key": (HEAD + "train:\n  step: 3\n", "4:3", "train.step", "'steps'"),
    "misspelt key of a choice": (
        "data: photos\ndegradation: {name: sparse-random, fracton: 0.1}\n", "2:36",
        "degradation.fracton", "'fraction'",
    ),
    "wrong type": (HEAD + "train:\n  steps: many\n", "4:3", "train.steps", "'many'"),
    "a number in quotes": (HEAD + "seed: '3'\n", "3:1", "seed", "'3'"),
    "fraction of a step": (HEAD + "train: {steps: 1.5}\n", "3:9", "train.steps", 1.5),
    "out of range": (HEAD + "noise: {sigma: -1}\n", "3:9", "noise.sigma", 0, -1),
    "a share above one": (
        "data: photos\ndegradation:\n  name: sparse-random\n  fraction: 2\n", "4:3",
        "degradation.fraction", 1, 2,
    ),
    "not a number": (HEAD + "noise: {sigma: .nan}\n", "3:9", "noise.sigma", "nan"),
    "unknown degradation": (
        "data: photos\ndegradation: sparse-randm\n", "2:1",
        "degradation", "'sparse-randm'", "'sparse-random'",
    ),
    "unknown data set": (
        "data: {name: photo}\ndegradation: sparse-random\n", "1:8",
        "data.name", "'photo'", "'photos'",
    ),
    "paired to an unknown method": (HEAD + "eval: {paired_to: gausian}\n", "3:8", "eval.paired_to", "'gausian'", "'gaussian'"),
    "unknown method": (HEAD + "eval: {methods: [modle]}\n", "3:18", "eval.methods.0", "'modle'", "'model'"),
    "unknown sampler": (HEAD + "sample: {method: huen}\n", "3:10", "sample.method", "'huen'", "'heun'"),
    "missing section": ("data: photos\n", "1:1", "degradation"),
    "missing name": ("data: {root: x}\ndegradation: sparse-random\n", "1:1", "data", "'name'"),
    "a section that is a value": (HEAD + "train: fast\n", "3:1", "train", "'fast'"),
    "an empty section": (HEAD + "train:\n", "3:1", "train"),
    "a list that is a value": (HEAD + "eval: {methods: model}\n", "3:8", "eval.methods", "'model'"),
    "duplicate key": (HEAD + "seed: 1\nseed: 2\n", "4:1", "seed"),
    "tab": (HEAD + "train:\n\tsteps: 3\n", "4:1", ""),
    "unclosed bracket": (HEAD + "train: {grids: [32\n", "4:1", ""),
    "empty file": ("", "1:1", ""),
    "list at the top": ("- data: photos\n", "1:1", ""),
    "alias bomb": ("a: &a [x]\nb: &b [*a, *a]\n" + HEAD, "1:4", "a", "&a"),
    "a tag": (HEAD + "seed: !!python/object/apply:os.getcwd []\n", "3:7", "seed"),
    "a key that is a number": (HEAD + "3: 4\n", "3:1", "", 3),
    "merge key": (HEAD + "train:\n  <<: {steps: 3}\n", "4:3", "train", "<<"),
    "binary": (b"\x80\x04\x95\x00", "1:1", "", "UTF-8"),
    "too deep": (HEAD + "train: " + "[" * 200 + "]" * 200 + "\n", "3:40", "", 32),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake, invkit, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, place, key, *said = MISTAKES[mistake]
    path, started = write(text), time.perf_counter()
    code, out, err = invkit("run", path)
    assert (code, out) == (2, "") and time.perf_counter() - started < 1
    lines, start = err.splitlines(), f"error: {path}:{place}: {key}"
    assert all(line.startswith(f"error: {path}:") for line in lines)
    assert any(line.startswith(start) and not missing(line.removeprefix(start), *said) for line in lines), lines
    assert not (tmp_path / "runs").exists()


def test_a_missing_file(tmp_path, stand_ins):
    with raises(RecipeError, "nosuch.yaml:1:1", "quickstart"):
        load_recipe(tmp_path / "nosuch.yaml", (), stand_ins)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_has_one_name(kind):
    classes = list(registry().names(kind).values())
    assert classes
    assert len(set(classes)) == len(classes)
    assert {cls.kind for cls in classes} == {kind}


def test_every_shipped_recipe_is_installed():
    assert len(SHIPPED) >= 3
    assert len(installed()) == len(SHIPPED)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid_and_survive_their_dump(path, tmp_path):
    recipe = load_recipe(path)
    again = tmp_path / "resolved.yaml"
    again.write_text(recipe.dump(), "utf-8")
    assert load_recipe(again) == recipe


@pytest.mark.parametrize(
    ("data", "flipped"),
    [("photos", True), ("fields", True), ("mixture-fields", False), ("{name: images, root: .}", False)],
)
def test_images_are_mirrored_where_mirror_images_are_alike(data, flipped, write):
    recipe = write(f"data: {data}\ndegradation: sparse-random\n")
    assert load_recipe(recipe).train.flip is flipped
    assert load_recipe(recipe, [f"train.flip={str(not flipped).lower()}"]).train.flip is not flipped
    assert load_recipe(recipe, ["train.steps=7"]).train.flip is flipped


def test_the_sampler_that_a_recipe_gets_without_naming_one(write):
    sample = load_recipe(write("data: photos\ndegradation: sparse-random\n")).sample
    assert (type(sample.method).__name__, sample.steps, sample.calls) == ("Dpmpp2M", 15, 15)
