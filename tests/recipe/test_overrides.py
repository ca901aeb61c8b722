import pytest
from support.messages import missing, warns

from invkit.recipe.overrides import override
from invkit.recipe.yaml_reader import MAX_DEPTH, read

BASE = read(
    b"data: {name: images, root: x}\ndegradation: sparse-random\ntrain: {steps: 5}\neval: {methods: [nearest]}\n", "r"
)


def data(*overrides):
    tree = override(BASE, overrides)
    assert tree.problems == []
    return tree.data


def problem(*overrides):
    (found,) = override(BASE, overrides).problems
    return str(found)


def test_values_follow_the_rules_of_the_file():
    assert data("train.lr=1e-4", "train.grids=[32, 64]", "train.ema=5m", "log.note=yes")["train"] == {
        "steps": 5, "lr": 1e-4, "grids": [32, 64], "ema": "5m"
    }  # fmt: skip
    assert data("seed=")["seed"] is None
    assert data("a=b=c")["a"] == "b=c"


def test_a_name_resets_what_it_names_and_later_settings_stay():
    assert data("data.name=photos")["data"] == {"name": "photos"}
    assert data("data.name=photos", "data.root=y")["data"] == {"name": "photos", "root": "y"}
    assert data("data.root=y")["data"] == {"name": "images", "root": "y"}


def test_a_setting_that_a_later_name_would_drop_is_an_error():
    text = problem("data.root=y", "data.name=photos")
    assert text.startswith("command line: data.root=y: data.root: ") and not missing(text, "data.name=photos")


def test_a_choice_written_as_a_name_takes_settings():
    assert data("degradation.fraction=0.2")["degradation"] == {"name": "sparse-random", "fraction": 0.2}


def test_of_two_exclusive_keys_the_later_applies_and_it_is_said():
    with warns("train.budget=10m", "train.steps=5"):
        assert data("train.budget=10m")["train"] == {"steps": None, "budget": "10m"}
    with warns("train.steps=7", "train.budget=10m"):
        assert data("train.budget=10m", "train.steps=7")["train"] == {"steps": 7, "budget": None}
    assert data("train.budget=null")["train"] == {"steps": 5, "budget": None}


def test_lists_are_also_given_as_their_items():
    assert data("train.grids=48", "eval.metrics=psnr,ssim", "eval.methods=model", "eval.grids=[8, 16]") == {
        **BASE.data, "train": {"steps": 5, "grids": [48]},
        "eval": {"methods": ["model"], "metrics": ["psnr", "ssim"], "grids": [8, 16]},
    }  # fmt: skip
    assert data("eval.grids=null")["eval"]["grids"] is None


def test_noise_is_told_its_setting():
    assert not missing(problem("noise=0.1"), "noise.sigma=0.1")


def test_spaces_around_the_equals_sign():
    problems = override(BASE, ["train.grids", "=", "[48]"]).problems
    assert problems and not any(missing(str(found), "no spaces") for found in problems)


def test_items_of_lists():
    assert data("eval.methods.0=model")["eval"]["methods"] == ["model"]
    assert not missing(problem("eval.methods.1=model"), "eval.methods", 1, 0)


def test_places():
    tree = override(BASE, ["data.name=photos", "model.width=3", "train.grids=[1, 2]"])
    assert tree.place(("data", "other")) == "command line: data.name=photos"
    assert tree.place(("model",)) == "command line: model.width=3"
    assert tree.place(("train", "grids", 1)) == "command line: train.grids=[1, 2]"
    assert tree.place(("train", "steps")) == "r:3:9"


def test_the_given_tree_is_not_changed():
    before = (repr(BASE.data), dict(BASE.where))
    override(BASE, ["data.name=photos", "train.steps=9", "eval.methods.0=x"])
    assert (repr(BASE.data), BASE.where) == before


@pytest.mark.parametrize("text", ["steps", "=3", "a..b=1", ".a=1", "a.=1", ".".join("a" * (MAX_DEPTH + 1)) + "=1"])
def test_malformed(text):
    assert problem(text).startswith(f"command line: {text}: ") and not missing(problem(text), "key.path=value")


def test_bad_values_and_values_without_settings():
    assert problem("train.grids=[1,").startswith("command line: train.grids=[1,: train.grids: ")
    assert not missing(problem("train.steps.x=1"), "train.steps", 5)
    assert "tag" in problem("a=!x 1")
