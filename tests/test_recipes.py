"""Every recipe that ships runs for two steps, with the embedded photographs where its data are not at hand."""

import json
import re
from itertools import chain

import pytest
from support import ROOT

from invkit.data.cifar10 import Cifar10
from invkit.experiment.run import run
from invkit.plugins import loader as plugins
from invkit.recipe.recipe import load_recipe
from invkit.recipe.resolve import plain

RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
TASKS = ("inpainting", "superres", "deblur", "tomography", "masks")
FEW = ["eval.images=2", "eval.samples=2", "eval.batch=2"]  # three pictures more would teach nothing


def test_there_are_recipes():
    assert len(RECIPES) >= 18
    tasks = (*TASKS, "prior")
    assert {path.stem for path in RECIPES} >= {f"{data}_{task}" for data in ("photos", "cifar10") for task in tasks}


def settings(name):
    """A recipe's settings, but for its task; `nearest` reads masks only, so that other tasks have no such row."""
    found = plain(load_recipe(name), plugins.registry())
    del found["degradation"], found["noise"]
    found["eval"]["methods"] = [m for m in found["eval"]["methods"] if m["name"] != "nearest"]
    return found


@pytest.mark.parametrize("task", TASKS)
def test_tasks_differ_in_the_task_alone(task):
    assert settings(f"cifar10_{task}") == settings("cifar10_sparse")
    assert settings(f"photos_{task}") == settings("quickstart")
    assert settings("cifar10_sparse_ddo") != settings("cifar10_sparse")


@pytest.mark.parametrize(("prior", "other"), [("photos_prior", "quickstart"), ("cifar10_prior", "cifar10_sparse")])
def test_priors_differ_in_what_an_empty_measurement_asks_for(prior, other):
    own, others = settings(prior), settings(other)
    for section, key, value in (("model", "fill", "mean"), ("train", "mean_share", 0.05)):
        assert own[section].pop(key) == value != others[section].pop(key)
    assert own.pop("sample") != others.pop("sample")  # of its own report, which no solver reads
    for key in ("log_mean", "log_std"):  # without data, more of the sampling is at high noise levels
        assert own["diffusion"]["schedule"].pop(key) > others["diffusion"]["schedule"].pop(key)
    assert own == others


def test_incomplete_images_differ_in_what_is_known_of_them():
    own = settings("photos_incomplete")
    assert (own["train"].pop("clean"), own["train"].pop("held")) == (False, 0.75)
    other = settings("quickstart")
    assert other["train"].pop("clean") and other["train"].pop("held") and own == other


def plugins_named_in(text):
    """The degradations, and the words of their names, that a text of the core knows."""
    names = {name for name, origin in plugins.registry().origins.items() if origin.plugin != "core"}
    words = {name for _, name in names} | {"superres", "super-res", "inpaint", "deblur", "tomograph", "radon"}
    words -= {"denoise", "jpeg"}  # also what a sampler calls the network, and a file format
    return sorted(word for word in words if word in text.lower())


def test_no_line_of_the_core_knows_a_task():
    core = list((ROOT / "invkit").rglob("*.py"))
    assert len(core) > 50
    prose = re.compile(r'"""(?:.|\n)*?"""|#.*')
    known = {path.name: found for path in core if (found := plugins_named_in(prose.sub("", path.read_text("utf-8"))))}
    assert known == {}
    assert plugins_named_in("if isinstance(degradation, SuperRes): ...") == ["superres"]


def test_the_published_configuration_has_the_published_modes():
    recipe = load_recipe("cifar10_sparse_ddo")
    network = recipe.model.build(12, 3)
    shapes = {tuple(p.shape[:3]) for name, p in network.named_parameters() if "spectral" in name}
    assert shapes == {(2, 17, 9)} and sum(p.numel() for p in network.parameters()) == pytest.approx(67.9e6, rel=1e-3)
    assert recipe.train.sample_every == 1000 and "train.query_fraction" in recipe.text.partition("seed:")[0]


def methods(recipe):
    return plain(recipe, plugins.registry())["eval"]["methods"]


# the same task with the embedded photographs runs in fast tests, or the same recipe for a GPU
TWINS = {f"cifar10_{task}" for task in (*TASKS, "masks_cpu", "sparse_cpu")}


def sizes(path):
    yield pytest.param(path, "narrow", marks=pytest.mark.slow if path.stem in TWINS else ())
    yield pytest.param(path, "whole", marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("path", "size"), chain.from_iterable(map(sizes, RECIPES)), ids=lambda v: getattr(v, "stem", v)
)
def test_two_steps(path, size, tmp_path, monkeypatch):
    """Narrow networks take seconds; everything else is as the recipe says."""
    monkeypatch.setattr(Cifar10, "missing", lambda _: "no network in tests")
    narrow = ["model.channels=16", "model.blocks=1", "model.modes=4", *FEW] if size == "narrow" else []
    recipe = load_recipe(path, ["train.steps=2", *narrow])
    folder = run(recipe, tmp_path / "run", "cpu", smoke=True)
    table = json.loads((folder / "eval" / "table.json").read_text("utf-8"))
    assert {row["method"] for row in table["rows"]} == {method["name"] for method in methods(recipe)}
    assert {row["method"] for row in table["rows"]} >= {"model"}
    assert (folder / "report.html").is_file()
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-00000002"]
    assert (folder / "samples" / "iter_000002.png").is_file()
