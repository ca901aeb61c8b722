from enum import Enum
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from support.messages import raises

from invkit.core.errors import PluginError
from invkit.core.settings import PathSetting, Settings
from invkit.physics.degradation import Degradation
from invkit.testing import check_degradation
from invkit.testing.examples import bases, subjects, variations


class Form(Enum):
    DISC = "disc"
    BOX = "box"


class Part(Settings):
    width: float = Field(0.5, ge=0, le=1)


class Law(Degradation):
    def sample(self, keys, grid):
        raise NotImplementedError


class Many(Law):
    count: int = Field(ge=2, le=5)
    odd: int = Field(3, multiple_of=3)
    low: float = Field(0.0, le=-0.0)
    width: float = Field(0.1, gt=0, lt=1)
    free: Annotated[float, Field(gt=5)] = 6.0
    pair: tuple[int, Literal["a", "b"]] = (1, "a")
    parts: tuple[float, ...] = ()
    form: Form = Form.DISC
    dark: bool | None = None
    inner: Part = Part()
    first: Degradation
    others: tuple[Degradation, ...] = ()
    kernel: str = Field("", examples=["x", "y"])


def test_every_kind_of_field_is_varied_alone():
    (start,) = bases(Many)
    for name in Many.model_fields:
        pairs = list(variations([start], name))
        assert pairs, name
        for a, b in pairs:
            assert {key for key in Many.model_fields if getattr(a, key) != getattr(b, key)} == {name}


def test_subjects_are_the_examples_and_the_alternatives():
    chosen = subjects(bases(Many))
    assert {(m.kernel, m.form, m.dark) for m in chosen} == {
        ("", Form.DISC, None), ("x", Form.DISC, None), ("y", Form.DISC, None), ("", Form.BOX, None),
        ("", Form.DISC, True), ("", Form.DISC, False),
    }  # fmt: skip


class OneOf(Law):
    n: int | None = Field(None, ge=1)
    share: float | None = Field(None, gt=0, le=1)

    @model_validator(mode="after")
    def _one(self):
        if (self.n is None) == (self.share is None):
            raise ValueError("give one of n and share")
        return self


def test_one_of_several_fields():
    assert bases(OneOf) == [OneOf(n=1), OneOf(share=0.25)]


class Given(Law):
    path: PathSetting

    @classmethod
    def conformance_examples(cls):
        return [cls(path="a"), cls(path="b")]


class NotGiven(Law):
    path: PathSetting


class Broken(Law):
    path: str = Field(examples=["no such file"])

    @field_validator("path")
    @classmethod
    def _open(cls, path):
        raise FileNotFoundError(path)


def test_examples_of_the_class_come_first():
    assert bases(Given) == [Given(path="a"), Given(path="b")]
    assert next(variations(bases(Given)[:1], "path"), None) is None


def test_settings_that_cannot_be_found_say_the_way_out():
    with raises(PluginError, "NotGiven", "Field(examples=[...])", "conformance_examples()"):
        check_degradation(NotGiven)
    with raises(PluginError, "Broken", "FileNotFoundError"):
        check_degradation(Broken)
