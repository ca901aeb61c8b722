"""Broken plugins of every sort: each is named with its distribution, and the rest goes on working."""

import hashlib
import sys
from importlib.metadata import EntryPoint

import pytest

import invkit
from invkit.core.errors import PluginError, RecipeError, suggest
from invkit.plugins.loader import load, registry

GOOD = """
from invkit.api import Degradation, Dataset, Field, Settings, hookimpl

class Blur(Degradation):
    '''Blurs.'''
    width: float = Field(0.1, gt=0, description="width")
    def sample(self, keys, grid): ...

@hookimpl
def invkit_degradations():
    return {"blur": Blur}
"""


CORE = {"compose", "mixture", "nothing"}  # degradations that come with the core


@pytest.fixture(autouse=True)
def no_limit(monkeypatch):
    monkeypatch.delenv("INVKIT_PLUGINS", raising=False)


@pytest.fixture
def install(write, tmp_path, monkeypatch):
    """Installs a module with some source, and gives its entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = []

    def install(name, source, dist=None):
        write(source, f"{name}_plugin.py")
        modules.append(f"{name}_plugin")
        return dist or f"invkit-{name}", "1.2", EntryPoint(name, f"{name}_plugin", "invkit")

    yield install
    for module in modules:
        sys.modules.pop(module, None)


def test_the_core_goes_through_the_same_hooks():
    found = load([])
    assert set(found.names("dataset")) == {"photos", "cifar10", "images", "fields"}
    assert found.failures == ()
    assert found.origins["dataset", "photos"].distribution == "invkit"


def test_the_installed_plugins():
    found = registry()
    assert {"sparse-random", "sparse-grid", "sparse-center"} <= set(found.names("degradation"))
    assert found.failures == ()
    assert found is registry()


def test_a_good_plugin(install):
    found = load([install("blur", GOOD)])
    assert found.failures == ()
    assert found.get("degradation", "blur")().width == 0.1
    assert str(found.origins["degradation", "blur"]) == "blur (invkit-blur 1.2)"
    assert found.name_of(found.get("degradation", "blur")()) == "blur"


def changed(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


BROKEN = {
    "raises on import": ("raise RuntimeError('no\\nmore')", "RuntimeError: no"),
    "exits on import": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "misses a dependency": ("import not_there", "ModuleNotFoundError: No module named 'not_there'"),
    "does not parse": ("def (", "SyntaxError"),
    "asks for what the api lacks": ("from invkit.api import Blurring", "ImportError: cannot import name 'Blurring'"),
    "misspells a hook": (
        changed("invkit_degradations", "invkit_degradation"),
        "no hook invkit_degradation (did you mean 'invkit_degradations'?)",
    ),
    "invents a hook": (
        "def invkit_xyz(): ...",
        "no hook invkit_xyz (known: invkit_datasets, invkit_degradations, invkit_metrics, invkit_reconstructors)",
    ),
    "forgets the mark": (changed("@hookimpl", ""), "invkit_degradations is not marked; write @hookimpl above it"),
    "takes an argument": (changed("invkit_degradations()", "invkit_degradations(config)"), "PluginValidationError"),
    "raises in the hook": (changed('return {"blur": Blur}', "1 / 0"), "ZeroDivisionError: division by zero"),
    "exits in the hook": (changed('return {"blur": Blur}', "raise SystemExit"), "SystemExit"),
    "returns nothing": (
        changed('return {"blur": Blur}', "pass"),
        "TypeError: has to return a mapping of names to classes, got NoneType",
    ),
    "returns a list": (
        changed('{"blur": Blur}', "[Blur]"),
        "TypeError: has to return a mapping of names to classes, got list",
    ),
    "returns an instance": (
        changed('{"blur": Blur}', '{"blur": Blur()}'),
        "'blur': has to be a subclass of Degradation",
    ),
    "returns a class of another kind": (
        changed("Blur(Degradation)", "Blur(Settings)"),
        "'blur': has to be a subclass of Degradation",
    ),
    "leaves sample out": (changed("def sample", "def smaple"), "'blur': Blur does not define sample"),
    "is not frozen": (
        changed("    width", "    model_config = {'frozen': False}\n    width"),
        "'blur': Blur changes frozen",
    ),
    "is not strict": (
        changed("    width", "    model_config = {'strict': False}\n    width"),
        "'blur': Blur changes strict",
    ),
    "takes anything": (
        changed("    width", "    model_config = {'extra': 'allow'}\n    width"),
        "'blur': Blur changes extra",
    ),
    "has a field name": (changed("width:", "name: str = 'x'\n    width:"), "'blur': Blur has a field 'name'"),
    "has a name with a space": (changed('"blur"', '"my blur"'), "'my blur': a name is made of"),
    "has a name in capitals": (changed('"blur"', '"Blur"'), "'Blur': a name is made of"),
    "has a number for a name": (changed('"blur"', "3"), "3: a name is made of"),
    "has two names for a class": (
        changed("Blur}", 'Blur, "blur2": Blur}'),
        "'blur2': is registered under another name already",
    ),
    "has a field without a type": (changed("width: float", "width"), "PydanticUserError"),
    "sets a setting outside its type": (changed("float", "torch.Tensor"), "NameError"),
    "has a setting of no type that YAML has": (
        changed(
            "    width: float", "    model_config = {'arbitrary_types_allowed': True}\n    width: Settings | slice"
        ),
        "'blur': Blur.width is of a type that no recipe can write",
    ),
    "marks another hook": (changed("invkit_degradations", "degradations"), "there is no hook degradations"),
    "has no hook": ("x = 1", "provides nothing: it has none of the hooks invkit_datasets, invkit_degradations, "),
    "raises what is no exception": ("class Skipped(BaseException): ...\nraise Skipped('x')", "Skipped: x"),
    "asks for a newer api": (
        "from invkit.api import Later",
        f"; the plugin needs another version of invkit than {invkit.__version__}",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_plugin_is_named_and_the_others_go_on(what, install):
    source, said = BROKEN[what]
    sharp = GOOD.replace("Blur", "Sharp").replace("blur", "sharp")
    found = load([install("broken", source), install("sharp", sharp)])
    assert [failure.origin.distribution for failure in found.failures] == ["invkit-broken"]
    assert said in found.failures[0].error
    assert "\n" not in str(found.failures[0])
    assert "sharp" in found.names("degradation")
    assert "photos" in found.names("dataset")


def test_one_bad_class_does_not_take_the_others_of_its_plugin(install):
    found = load([install("half", GOOD.replace("Blur}", 'Blur, "bad": 3}'))])
    assert "blur" in found.names("degradation")
    assert len(found.failures) == 1


def test_an_entry_point_to_nothing(install):
    install("blur", GOOD)
    entry = "invkit-blur", "1.2", EntryPoint("blur", "blur_plugin:nothing", "invkit")
    assert "AttributeError" in load([entry]).failures[0].error


def test_metadata_that_cannot_be_read(install):
    found = load([("invkit-bad", "", TypeError("no")), install("blur", GOOD)])
    assert str(found.failures[0]) == "plugin invkit-bad (invkit-bad): its metadata cannot be read: TypeError: no"
    assert "blur" in found.names("degradation")


def test_what_a_plugin_prints_does_not_mix_with_results(install, capsys):
    load([install("loud", "print('hello')\n" + GOOD)])
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


def test_two_providers_of_a_name_are_both_named(install):
    found = load([install("one", GOOD), install("two", GOOD), install("other", GOOD.replace('"blur"', '"blur3"'))])
    with pytest.raises(
        PluginError, match=r"'blur' is provided by both one \(invkit-one 1.2\) and two \(invkit-two 1.2\)"
    ):
        found.get("degradation", "blur")
    assert "blur" not in found.names("degradation")
    assert found.get("degradation", "blur3")


def test_limits(install, monkeypatch):
    entries = [install("one", GOOD), install("two", GOOD), install("bad", "1 / 0")]
    monkeypatch.setenv("INVKIT_PLUGINS", "one, ")
    found = load(entries)
    assert (set(found.names("degradation")) - CORE, found.failures) == ({"blur"}, ())
    monkeypatch.setenv("INVKIT_PLUGINS", "")
    assert set(load(entries).names("degradation")) == CORE
    monkeypatch.setenv("INVKIT_PLUGINS", "oen")
    assert "no such plugin is installed (did you mean 'one'?)" in load(entries).failures[0].error


def test_an_unknown_name(install):
    good = load([install("blur", GOOD)])
    with pytest.raises(RecipeError, match=r"^unknown degradation 'blurr' \(did you mean 'blur'\?\)$"):
        good.get("degradation", "blurr")
    broken = load([install("broken", "1 / 0")])
    with pytest.raises(PluginError, match=r"failed to load: plugin broken \(invkit-broken\): ZeroDivisionError"):
        broken.get("degradation", "blurr")
    with pytest.raises(RecipeError, match="unknown sampler"):  # no plugin provides samplers
        broken.get("sampler", "huen")


def test_a_name_whose_class_failed_is_told_apart(install):
    """Another plugin's failure is not the reason then."""
    found = load([install("half", GOOD.replace("Blur}", 'Blur, "bad": 3}')), install("broken", "1 / 0")])
    with pytest.raises(PluginError, match=r"invkit-half") as caught:
        found.get("degradation", "bad")
    assert "invkit-broken" not in str(caught.value)


def test_ctrl_c_is_the_persons(install):
    with pytest.raises(KeyboardInterrupt):
        load([install("slow", "raise KeyboardInterrupt")])


def test_a_plugin_file(write):
    file = write("from __future__ import annotations\n" + GOOD, "my-blur.py")
    found = load([], [str(file)])
    assert found.get("degradation", "blur")().width == 0.1
    assert found.origins["degradation", "blur"].plugin == "my-blur"
    assert found.files == {str(file): hashlib.sha256(file.read_bytes()).hexdigest()}
    assert load([], [str(file)] * 2).rivals == {}


@pytest.mark.parametrize(
    ("name", "source"), [("a.py", "1 / 0"), ("a.txt", GOOD), ("a.py", "def invkit_degradation(): ...")]
)
def test_a_plugin_file_that_fails_stops_at_once(write, name, source):
    with pytest.raises(PluginError, match="plugin a "):
        load([], [str(write(source, name))])


def test_suggestions():
    assert suggest("stepz", ["steps", "batch"]) == " (did you mean 'steps'?)"
    assert suggest("zzz", ["steps", "batch"]) == " (known: batch, steps)"
    assert suggest("zzz", []) == " (known: none)"
