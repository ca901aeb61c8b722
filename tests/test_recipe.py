"""The real recipe: its sections, the mistakes people make in it, and every recipe that ships."""

import time
from pathlib import Path

import pytest

from invkit.cli import main
from invkit.errors import RecipeError
from invkit.lookup import installed
from invkit.plugins import KINDS, registry
from invkit.recipe import CHOICES, Recipe, load_recipe

HEAD = "data: photos\ndegradation: sparse-random\n"
SHIPPED = sorted((Path(__file__).parent.parent / "recipes").rglob("*.yaml"))


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
    with pytest.raises(RecipeError, match=r"^command line: train.steps=x: train.steps: should be a valid integer"):
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


MISTAKES = {  # what is written: the place, and the path with what is said of it
    "misspelt section": (HEAD + "trian: {steps: 3}\n", "3:1", "trian: unknown setting (did you mean 'train'?)"),
    "misspelt key": (HEAD + "train:\n  step: 3\n", "4:3", "train.step: unknown setting (did you mean 'steps'?)"),
    "misspelt key of a choice": (
        "data: photos\ndegradation: {name: sparse-random, fracton: 0.1}\n", "2:36",
        "degradation.fracton: unknown setting (did you mean 'fraction'?)",
    ),
    "wrong type": (HEAD + "train:\n  steps: many\n", "4:3", "train.steps: should be a valid integer, got 'many'"),
    "a number in quotes": (HEAD + "seed: '3'\n", "3:1", "seed: should be a valid integer, got '3'"),
    "fraction of a step": (HEAD + "train: {steps: 1.5}\n", "3:9", "train.steps: should be a valid integer, got 1.5"),
    "out of range": (HEAD + "noise: {sigma: -1}\n", "3:9", "noise.sigma: should be greater than or equal to 0, got -1"),
    "a share above one": (
        "data: photos\ndegradation:\n  name: sparse-random\n  fraction: 2\n", "4:3",
        "degradation.fraction: should be less than or equal to 1, got 2",
    ),
    "not a number": (HEAD + "noise: {sigma: .nan}\n", "3:9", "noise.sigma: should be a finite number, got nan"),
    "unknown degradation": (
        "data: photos\ndegradation: sparse-randm\n", "2:1",
        "degradation: unknown degradation 'sparse-randm' (did you mean 'sparse-random'?)",
    ),
    "unknown data set": (
        "data: {name: photo}\ndegradation: sparse-random\n", "1:8",
        "data.name: unknown dataset 'photo' (did you mean 'photos'?)",
    ),
    "paired to an unknown method": (
        HEAD + "eval: {paired_to: gausian}\n", "3:8",
        "eval.paired_to: unknown method 'gausian' (did you mean 'gaussian'?)",
    ),
    "unknown method": (
        HEAD + "eval: {methods: [modle]}\n", "3:18",
        "eval.methods.0: unknown method 'modle' (did you mean 'model'?)",
    ),
    "unknown sampler": (
        HEAD + "sample: {method: huen}\n", "3:10",
        "sample.method: unknown sampler 'huen' (did you mean 'heun'?)",
    ),
    "missing section": ("data: photos\n", "1:1", "degradation: this setting is missing"),
    "missing name": ("data: {root: x}\ndegradation: sparse-random\n", "1:1", "data: the setting 'name' is missing"),
    "a section that is a value": (HEAD + "train: fast\n", "3:1", "train: should be settings (key: value), got 'fast'"),
    "an empty section": (HEAD + "train:\n", "3:1", "train: should be settings (key: value), got nothing"),
    "a list that is a value": (HEAD + "eval: {methods: model}\n", "3:8", "eval.methods: should be a list, got 'model'"),
    "duplicate key": (HEAD + "seed: 1\nseed: 2\n", "4:1", "seed: written twice"),
    "tab": (HEAD + "train:\n\tsteps: 3\n", "4:1", "a tab in the indentation"),
    "unclosed bracket": (HEAD + "train: {grids: [32\n", "4:1", "not valid YAML"),
    "empty file": ("", "1:1", "empty"),
    "list at the top": ("- data: photos\n", "1:1", "a recipe is a mapping of sections"),
    "alias bomb": ("a: &a [x]\nb: &b [*a, *a]\n" + HEAD, "1:4", "a: the anchor &a is not supported"),
    "a tag": (HEAD + "seed: !!python/object/apply:os.getcwd []\n", "3:7", "seed: a tag (!...) is not supported"),
    "a key that is a number": (HEAD + "3: 4\n", "3:1", "a key has to be a word, got 3"),
    "merge key": (HEAD + "train:\n  <<: {steps: 3}\n", "4:3", "train: the merge key << is not supported"),
    "binary": (b"\x80\x04\x95\x00", "1:1", "not a text in UTF-8"),
    "too deep": (HEAD + "train: " + "[" * 200 + "]" * 200 + "\n", "3:40", "nested deeper than 32 levels"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake, load, tmp_path):
    text, place, said = MISTAKES[mistake]
    started = time.perf_counter()
    with pytest.raises(RecipeError) as caught:
        load(text)
    assert caught.value.exit_code == 2
    assert any(line.startswith(f"{tmp_path / 'r.yaml'}:{place}: {said}") for line in str(caught.value).splitlines())
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("mistake", [*MISTAKES, "missing file"])
def test_mistakes_as_a_person_sees_them(mistake, write, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if mistake == "missing file":
        path, place = tmp_path / "nosuch.yaml", "1:1"
    else:
        path, place = write(MISTAKES[mistake][0]), MISTAKES[mistake][1]
    with pytest.raises(SystemExit) as caught:
        main(["run", str(path)])
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert all(line.startswith(f"error: {path}:") for line in err.splitlines())
    assert f"error: {path}:{place}: " in err
    assert not (tmp_path / "runs").exists()


def test_a_missing_file(tmp_path, stand_ins):
    with pytest.raises(RecipeError, match=r"nosuch\.yaml:1:1: there is no such recipe"):
        load_recipe(tmp_path / "nosuch.yaml", (), stand_ins)


def test_sections_and_choices_agree():
    for path, kind in CHOICES.items():
        assert path[0] in Recipe.model_fields
        assert kind in KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_has_one_name(kind):
    classes = list(registry().names(kind).values())
    assert classes
    assert len(set(classes)) == len(classes)


def test_every_shipped_recipe_is_installed():
    assert len(SHIPPED) >= 3
    assert len(installed()) == len(SHIPPED)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid_and_survive_their_dump(path, tmp_path):
    recipe = load_recipe(path)
    again = tmp_path / "resolved.yaml"
    again.write_text(recipe.dump(), "utf-8")
    assert load_recipe(again) == recipe
