from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from pydantic import Field, model_validator
from support.messages import missing, raises

from invkit.core.errors import PluginError, RecipeError
from invkit.core.settings import Settings
from invkit.data.base import Dataset
from invkit.physics.degradation import Degradation
from invkit.plugins.registry import Failure, Origin
from invkit.recipe.overrides import override
from invkit.recipe.recipe import load_recipe
from invkit.recipe.resolve import plain, resolve
from invkit.recipe.yaml_reader import read


class Kernel(Settings):
    kind: ClassVar[str] = "kernel"


class Smooth(Kernel):
    order: int = 2


class Rough(Kernel):
    order: int = 0


class Part(Settings):
    kernel: Kernel = Smooth(order=3)
    mode: Literal["a", "b"] = "a"


class Whole(Settings):
    data: Dataset
    degradation: Degradation
    n: int = Field(1, ge=1, lt=100)
    x: float = 0.5
    sizes: tuple[int | tuple[int, int], ...] = (1,)
    some: tuple[int, ...] = Field((1,), min_length=1)
    share: float | None = None
    part: Part = Part()
    kernels: tuple[Kernel, ...] = Field((), max_length=2)

    @model_validator(mode="after")
    def _odd(self):
        if self.n == 13:
            raise ValueError("13 brings bad luck")
        return self


HEAD = "data: photos\ndegradation: sparse-random\n"


@pytest.fixture
def registry(stand_ins):
    return replace(stand_ins, classes={**stand_ins.classes, "kernel": {"smooth": Smooth, "rough": Rough}})


@pytest.fixture
def load(registry):
    def load(text, *overrides, registry=registry, folder=Path("/here")):
        return resolve(Whole, override(read(text.encode(), "r"), overrides), registry, folder)

    return load


@pytest.fixture
def errors(load):
    def errors(text, *overrides, **more):
        with pytest.raises(RecipeError) as caught:
            load(text, *overrides, **more)
        return str(caught.value).splitlines()

    return errors


def test_defaults_and_values(load):
    made = load(HEAD + "n: 3\nx: 2\nsizes: [8, [4, 6]]\n")
    assert type(made) is Whole
    assert (made.n, made.x, made.sizes, made.part) == (3, 2.0, (8, (4, 6)), Part())
    assert type(made.degradation).__name__ == "Some"
    assert made.degradation.fraction == 0.1
    with raises(ValueError, "n"):
        made.n = 4


def test_a_choice_is_a_name_or_settings_with_a_name(load):
    made = load(HEAD + "part:\n  kernel: {name: rough, order: 5}\nkernels: [rough, {name: smooth, order: 7}]\n")
    assert made.part == Part(kernel=Rough(order=5))
    assert type(made.part) is Part
    assert made.kernels == (Rough(), Smooth(order=7))


def test_settings_without_a_name_go_to_the_default_implementation(load):
    assert load(HEAD, "part.kernel.order=9").part.kernel == Smooth(order=9)
    assert load(HEAD + "part:\n  kernel: {}\n").part.kernel == Smooth(order=3)


def test_a_field_typed_degradation_resolves_through_the_registry(load, errors):
    text = "data: photos\n"
    text += "degradation: {name: both, first: {name: sparse-random, fraction: 0.5}, others: [sparse-random]}\n"
    made = load(text)
    assert made.degradation.first.fraction == 0.5
    assert made.degradation.others[0].fraction == 0.1
    (line,) = errors(text.replace("fraction", "frction"))
    assert line.startswith("r:2:56: degradation.first.frction: ") and not missing(line, "'fraction'")


def test_all_mistakes_at_once_in_the_order_of_the_text(errors):
    text = "data: phtos\nn: 0\nx: one\nx: two\npart: {mode: c, kernel: {name: rogh}}\n"
    text += "sizes: [1, a, 2.5]\nkernels: rough\nzz: 1\n"
    expected = [
        ("r:1:1: data", "'phtos'", "'photos'"),
        ("r:1:1: degradation",),
        ("r:2:1: n", 1, 0),
        ("r:4:1: x", "r:3:1"),
        ("r:5:8: part.mode", "'a'", "'b'", "'c'"),
        ("r:5:26: part.kernel.name", "'rogh'", "'rough'"),
        ("r:6:12: sizes.1", "'a'"),
        ("r:6:15: sizes.2", 2.5),
        ("r:7:1: kernels", "'rough'"),
        ("r:8:1: zz", "data, degradation, kernels, n, part, share, sizes, some, x"),
        ("command line: share=much: share", "'much'"),
    ]
    for line, (place, *said) in zip(errors(text, "share=much"), expected, strict=True):
        assert line.startswith(f"{place}: ") and not missing(line.removeprefix(place), *said), line


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("n: '3'", "n", ("'3'",)),
        ("n: 3.0", "n", (3.0,)),
        ("n: true", "n", ("true",)),
        ("n:", "n", ()),
        ("n: 100", "n", (100,)),
        ("n: 010", "n", ("'010'",)),
        ("x: .nan", "x", ("nan",)),
        ("x: 1e999", "x", ("inf",)),
        ("part: 3", "part", (3,)),
        ("part:", "part", ()),
        ("part: {kernel: 3}", "part.kernel", (3,)),
        ("part: {kernel: {name: 3}}", "part.kernel.name", (3,)),
        ("part: {name: x}", "part.name", ("kernel, mode",)),
        ("kernels: [{order: 3}]", "kernels.0", ("'name'", "rough, smooth")),
        ("some: [a]", "some.0", ("'a'",)),
        ("kernels: [rough, rough, rough]", "kernels", (2, 3)),
    ],
)
def test_wrong_values(errors, text, path, said):
    (line,) = errors(HEAD + text + "\n")
    place, _, message = line.partition(f": {path}: ")
    assert message and place.startswith("r:") and not missing(message, *said), line


def test_a_root_of_a_data_set_without_one_is_told_the_name_too():
    with raises(RecipeError, "data.root", "data.name=images data.root=mypics"):
        load_recipe("quickstart", ["data.root=mypics"])


def test_a_missing_setting_is_shown_in_its_node():
    with raises(RecipeError, "eval.methods.0.prior", "{name: dps, prior: ...}"):
        load_recipe("quickstart", ["eval.methods=[dps]"])


def test_what_a_validator_says_is_kept(errors):
    assert errors(HEAD + "n: 13\n") == ["r:1:1: 13 brings bad luck"]


def test_paths_are_relative_to_the_recipe_or_to_the_working_directory(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    text = "data: {name: photos, root: a/b, more: [../c, /d]}\ndegradation: sparse-random\n"
    assert load(text).data.root == "/here/a/b"
    assert load(text, "data.root=q").data.root == str(tmp_path / "q")
    assert load(text, "data.root=~/q").data.root == "/home/me/q"
    assert load(HEAD).data.root == ""
    assert load(text).data.more == ("/c", "/d")


def test_the_path_of_a_default_is_relative_to_the_recipe_too(registry):
    folder = registry.get("dataset", "photos")

    class Backed(Settings):
        backup: Dataset = folder(root="a/b")

    made = resolve(Backed, read(b"backup: {more: [c]}", "r"), registry, Path("/here"))
    assert made.backup == folder(root="/here/a/b", more=("/here/c",))


def test_an_unknown_name_while_a_plugin_failed_is_the_plugins_fault(load, registry):
    failed = replace(registry, failures=(Failure(Origin("blur", "invkit-blur", "1"), "ImportError: no"),))
    with pytest.raises(PluginError) as caught:
        load("data: photos\ndegradation: blur\nn: 0\n", registry=failed)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("r:2:1: degradation: ")
    assert not missing(lines[0], "'blur'", "blur (invkit-blur)", "ImportError: no")
    assert lines[1].startswith("r:3:1: n: ")
    assert load(HEAD, registry=failed).n == 1


def test_plain_data_resolves_to_equal_settings(load, registry):
    text = "data: {name: images, root: /x}\ndegradation: {name: both, first: sparse-random, others: [sparse-random]}\n"
    made = load(text + "part: {kernel: rough}\nkernels: [smooth]\nsizes: [[1, 2], 3]\n")
    data = plain(made, registry)
    assert data["degradation"]["others"] == [{"name": "sparse-random", "fraction": 0.1}]
    assert data["part"] == {"kernel": {"name": "rough", "order": 0}, "mode": "a"}
    assert data["sizes"] == [[1, 2], 3]
    assert load(repr(data).replace("None", "null")) == made
