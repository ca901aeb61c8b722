"""Broken plugins as they come, installed beside a good one: what does not need them works, what does names them."""

import hashlib
from dataclasses import dataclass, field

import pytest
from support.messages import missing, raises
from support.plugin_sources import GOOD, SHARP
from support.runs import shell

from invkit import __version__
from invkit.cli import main as cli
from invkit.core.errors import PluginError
from invkit.plugins.loader import load

ENTRY = "[invkit]\nbroken = invkit_broken\n"


@dataclass(frozen=True)
class Kind:
    """A way to be broken, and what has to be stated of it beside the distribution."""

    said: tuple[object, ...] = ()
    old: str = ""  # what stands in the good plugin in place of `new`
    new: str = ""
    source: str | None = None  # in place of the whole of it
    entries: str | bytes = ENTRY
    metadata: str | None = None
    distribution: str = "invkit-broken"
    more: dict[str, str] = field(default_factory=dict)  # other files

    def files(self) -> dict[str, str]:
        assert self.old in GOOD
        source = self.source if self.source is not None else GOOD.replace(self.old, self.new) if self.old else GOOD
        return {"invkit_broken.py": source, **self.more}


def config(setting: str) -> dict[str, str]:
    return {"old": "    width", "new": f"    model_config = {{{setting}}}\n    width"}


KINDS = {
    "import error": Kind(("ModuleNotFoundError", "'not_there'"), source="import not_there"),
    "any error at import": Kind(("RuntimeError: no",), source="raise RuntimeError('no\\nmore')"),
    "exit at import": Kind(("SystemExit: 3",), source="raise SystemExit(3)"),
    "an exception that is none": Kind(("Skipped: x",), source="class Skipped(BaseException): ...\nraise Skipped('x')"),
    "syntax error": Kind(("SyntaxError",), source="def ("),
    "no text": Kind(("null bytes",), source="\0"),
    "endless recursion": Kind(("RecursionError",), source="def f(): return f()\nf()"),
    "imports itself": Kind(("ImportError", "'x'"), source="from invkit_broken import x"),
    "imports in a circle": Kind(
        ("ImportError", "'Blur'"), source="from invkit_other import x",
        more={"invkit_other.py": "from invkit_broken import Blur\nx = 1"},
    ),
    "a newer invkit": Kind(("ImportError", "BlurredSettings", __version__), "Settings", "BlurredSettings"),
    "a missing module": Kind(("ModuleNotFoundError", "'invkit_gone'"), entries="[invkit]\nbroken = invkit_gone"),
    "a missing attribute": Kind(("AttributeError",), entries="[invkit]\nbroken = invkit_broken:plugin"),
    "entry points without a value": Kind(entries="[invkit]\nbroken\n"),
    "entry points that are no text": Kind(("UnicodeDecodeError",), entries=b"[invkit]\nbroken = \xff\n"),
    "an entry point to nowhere": Kind(("AttributeError",), entries="[invkit]\nbroken = !\n"),
    "metadata without a name": Kind(
        ("RuntimeError",), source="raise RuntimeError", metadata="", distribution="invkit_broken"
    ),
    "misspelt hook": Kind(
        ("invkit_degradation", "'invkit_degradations'"), "invkit_degradations", "invkit_degradation"
    ),
    "hook of no such name": Kind(("blurs",), "invkit_degradations", "blurs"),
    "unmarked hook": Kind(("invkit_degradations", "@hookimpl"), "@hookimpl", ""),
    "no hook": Kind(("invkit_degradations", "invkit_metrics"), source="import invkit.api"),
    "hook with arguments": Kind(("PluginValidationError",), "degradations()", "degradations(config)"),
    "hook that raises": Kind(("ZeroDivisionError",), 'return {"blur": Blur}', "1 / 0"),
    "hook that exits": Kind(("SystemExit",), 'return {"blur": Blur}', "raise SystemExit"),
    "hook that waits": Kind(("coroutine",), "def invkit", "async def invkit"),
    "hook that returns nothing": Kind(("NoneType",), 'return {"blur": Blur}', "pass"),
    "hook that returns a list": Kind(("list",), '{"blur": Blur}', "[Blur]"),
    "no class": Kind(("'blur'", "Degradation", 3), '"blur": Blur', '"blur": 3'),
    "an instance": Kind(("'blur'", "Degradation"), '"blur": Blur', '"blur": Blur()'),
    "wrong base": Kind(("'blur'", "Degradation"), "Blur(Degradation)", "Blur(Settings)"),
    "abstract": Kind(("Blur", "sample"), "def sample", "def smaple"),
    "not frozen": Kind(("Blur", "frozen"), **config("'frozen': False")),
    "not strict": Kind(("Blur", "strict"), **config("'strict': False")),
    "extra settings": Kind(("Blur", "extra"), **config("'extra': 'allow'")),
    "a type that no recipe has": Kind(
        ("Blur.width",), "    width: float", "    model_config = {'arbitrary_types_allowed': True}\n    width: slice"
    ),
    "a type that is not imported": Kind(("NameError",), "float", "torch.Tensor"),
    "a setting without a type": Kind(("PydanticUserError",), "width: float", "width"),
    "a setting called name": Kind(("Blur", "'name'"), "    width:", "    name: str = ''\n    width:"),
    "a bad name": Kind(("'blur it'",), '"blur"', '"blur it"'),
    "a name in capitals": Kind(("'Blur'",), '"blur"', '"Blur"'),
    "a name that is a number": Kind((3,), '"blur"', "3"),
    "a class of two names": Kind(("'blur'",), "{", '{"haze": Blur, '),
    "a name of the core": Kind(("'sparse-random'", "invkit-broken 1.2"), '"blur"', '"sparse-random"'),
}  # fmt: skip


@pytest.fixture
def invkit(capfd):
    """Runs the command line in this process: exit code, lines of stdout, lines of stderr."""

    def invkit(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return caught.value.code, out.splitlines(), err.splitlines()

    return invkit


@pytest.fixture
def recipes(write):
    """A recipe that needs no plugin but our own, and what makes one that needs another."""
    return lambda name: write(f"data: photos\ndegradation: {name}\n", f"{name}.yaml")


def install(distribution, kind):
    distribution("invkit-sharp", {"invkit_sharp.py": SHARP}, "[invkit]\nsharp = invkit_sharp\n")
    distribution("invkit-broken", kind.files(), kind.entries, kind.metadata)


@pytest.mark.filterwarnings(
    "ignore::RuntimeWarning", "ignore::UserWarning"
)  # a coroutine never awaited, a shadowed name
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_does_not_need_it_works_and_what_does_names_it(kind, distribution, invkit, recipes):
    install(distribution, kind)
    needs = recipes("sparse-random" if "sparse-random" in kind.new else "blur")
    assert invkit("--help")[0] == 0
    for name in ("sparse-grid", "sharp"):
        assert invkit("validate", recipes(name)) == (0, [f"{recipes(name)}: ok"], [])
    code, out, err = invkit("plugins")
    assert (code, err) == (0, [])
    wrong = [line for line in out if " failed " in line or " conflict " in line]
    assert all(kind.distribution in line for line in wrong[-1:])
    assert any(not missing(line, *kind.said) for line in wrong), out
    code, out, err = invkit("validate", needs)
    assert (code, out, len(err)) == (4, [], 1)
    assert err[0].startswith(f"error: {needs}:2:1: degradation: ")
    assert kind.distribution in err[0]
    assert not missing(err[0], *kind.said) or kind.old in ("{", '"blur"')


def test_two_plugins_of_one_name(distribution, invkit, recipes):
    install(distribution, Kind())
    distribution("invkit-second", {"invkit_second.py": GOOD}, "[invkit]\nsecond = invkit_second\n")
    assert invkit("validate", recipes("sharp"))[0] == 0
    code, _, (line,) = invkit("validate", recipes("blur"))
    assert code == 4
    assert not missing(line, "'blur'", "broken (invkit-broken 1.2)", "second (invkit-second 1.2)", "INVKIT_PLUGINS")
    rows = [line for line in invkit("plugins")[1] if line.startswith("blur ")]
    assert [line.split()[2:5] for line in rows] == [[f"invkit-{x}", "1.2", "conflict"] for x in ("broken", "second")]


def test_one_that_talks(distribution, invkit, recipes):
    """Not broken, but its prints must not stand among results."""
    install(distribution, Kind((), "from", "print('hello')\nfrom"))
    code, out, err = invkit("plugins", "--json")
    assert (code, out[0], err) == (0, "{", ["hello"])
    assert invkit("validate", recipes("blur"))[0] == 0


def test_as_a_person_meets_it(distribution, recipes):
    install(distribution, KINDS["exit at import"])
    done = shell("validate", recipes("sharp"), recipes("blur"))
    assert (done.returncode, done.stdout) == (4, f"{recipes('sharp')}: ok\n")
    assert not missing(done.stderr, "invkit-broken", "SystemExit: 3") and len(done.stderr.splitlines()) == 1


def test_limits(entry, monkeypatch):
    core = set(load([]).names("degradation"))
    entries = [entry("one", GOOD), entry("two", GOOD), entry("bad", "1 / 0")]
    monkeypatch.setenv("INVKIT_PLUGINS", "one, ")
    found = load(entries)
    assert (set(found.names("degradation")) - core, found.failures) == ({"blur"}, ())
    monkeypatch.setenv("INVKIT_PLUGINS", "")
    assert set(load(entries).names("degradation")) == core
    monkeypatch.setenv("INVKIT_PLUGINS", "oen")
    assert not missing(load(entries).failures[0].error, "'one'")


def test_ctrl_c_is_the_persons(entry):
    with pytest.raises(KeyboardInterrupt):
        load([entry("slow", "raise KeyboardInterrupt")])


def test_a_plugin_file(write):
    file = write("from __future__ import annotations\n" + GOOD, "my-blur.py")
    found = load([], [str(file)])
    assert found.get("degradation", "blur")().width == 0.1
    assert found.origins["degradation", "blur"].plugin == "my-blur"
    assert found.files == {str(file): hashlib.sha256(file.read_bytes()).hexdigest()}
    assert load([], [str(file)] * 2).duplicates == {}


@pytest.mark.parametrize(
    ("name", "source"), [("a.py", "1 / 0"), ("a.txt", GOOD), ("a.py", "def invkit_degradation(): ...")]
)
def test_a_plugin_file_that_fails_stops_at_once(write, name, source):
    with raises(PluginError, "plugin a", name):
        load([], [str(write(source, name))])
