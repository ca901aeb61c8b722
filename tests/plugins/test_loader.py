"""Broken plugins as they come, installed beside a good one: what does not need them works, what does names them."""

import os
import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from invkit.cli import main as cli

GOOD = """
from invkit.api import Degradation, Field, Settings, hookimpl

class Blur(Degradation):
    '''Blurs.'''
    width: float = Field(0.1, gt=0, description="width")
    def sample(self, keys, grid): ...

@hookimpl
def invkit_degradations():
    return {"blur": Blur}
"""
ENTRY = "[invkit]\nbroken = invkit_broken\n"


@dataclass(frozen=True)
class Kind:
    """A way to be broken, and what has to be said of it."""

    said: str
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
    "import error": Kind("ModuleNotFoundError: No module named 'not_there'", source="import not_there"),
    "any error at import": Kind("RuntimeError: no", source="raise RuntimeError('no\\nmore')"),
    "exit at import": Kind("SystemExit: 3", source="raise SystemExit(3)"),
    "an exception that is none": Kind("Skipped: x", source="class Skipped(BaseException): ...\nraise Skipped('x')"),
    "syntax error": Kind("SyntaxError", source="def ("),
    "no text": Kind("source code string cannot contain null bytes", source="\0"),
    "endless recursion": Kind("RecursionError", source="def f(): return f()\nf()"),
    "imports itself": Kind(
        "ImportError: cannot import name 'x' from partially initialized module", source="from invkit_broken import x"
    ),
    "imports in a circle": Kind(
        "ImportError: cannot import name 'Blur' from partially initialized module",
        source="from invkit_other import x",
        more={"invkit_other.py": "from invkit_broken import Blur\nx = 1"},
    ),
    "a newer invkit": Kind("the plugin needs another version of invkit", "Settings", "BlurredSettings"),
    "a missing module": Kind("ModuleNotFoundError: No module named 'invkit_gone'", entries="[invkit]\nbroken = invkit_gone"),
    "a missing attribute": Kind("AttributeError", entries="[invkit]\nbroken = invkit_broken:plugin"),
    "entry points without a value": Kind("metadata cannot be read", entries="[invkit]\nbroken\n"),
    "entry points that are no text": Kind("metadata cannot be read", entries=b"[invkit]\nbroken = \xff\n"),
    "an entry point to nowhere": Kind("AttributeError", entries="[invkit]\nbroken = !\n"),
    "metadata without a name": Kind("RuntimeError", source="raise RuntimeError", metadata="", distribution="invkit_broken"),
    "misspelt hook": Kind(
        "no hook invkit_degradation (did you mean 'invkit_degradations'?)", "invkit_degradations", "invkit_degradation"
    ),
    "hook of no such name": Kind("there is no hook blurs", "invkit_degradations", "blurs"),
    "unmarked hook": Kind("invkit_degradations is not marked", "@hookimpl", ""),
    "no hook": Kind("provides nothing", source="import invkit.api"),
    "hook with arguments": Kind("PluginValidationError", "degradations()", "degradations(config)"),
    "hook that raises": Kind("ZeroDivisionError: division by zero", 'return {"blur": Blur}', "1 / 0"),
    "hook that exits": Kind("SystemExit", 'return {"blur": Blur}', "raise SystemExit"),
    "hook that waits": Kind("got coroutine", "def invkit", "async def invkit"),
    "hook that returns nothing": Kind("got NoneType", 'return {"blur": Blur}', "pass"),
    "hook that returns a list": Kind("mapping of names to classes, got list", '{"blur": Blur}', "[Blur]"),
    "no class": Kind("has to be a subclass of Degradation", '"blur": Blur', '"blur": 3'),
    "wrong base": Kind("has to be a subclass of Degradation", "Blur(Degradation)", "Blur(Settings)"),
    "abstract": Kind("Blur does not define sample", "def sample", "def smaple"),
    "not frozen": Kind("Blur changes frozen", **config("'frozen': False")),
    "not strict": Kind("Blur changes strict", **config("'strict': False")),
    "extra settings": Kind("Blur changes extra", **config("'extra': 'allow'")),
    "a type that no recipe has": Kind(
        "Blur.width is of a type that no recipe can write",
        "    width: float",
        "    model_config = {'arbitrary_types_allowed': True}\n    width: type(keys)".replace("type(keys)", "slice"),
    ),
    "a setting without a type": Kind("PydanticUserError", "width: float", "width"),
    "a setting called name": Kind("Blur has a field 'name'", "    width:", "    name: str = ''\n    width:"),
    "a bad name": Kind("'blur it': a name is made of", '"blur"', '"blur it"'),
    "a class of two names": Kind("is registered under another name already", "{", '{"haze": Blur, '),
    "a name of the core": Kind(
        "the degradation 'sparse-random' is provided by both", '"blur"', '"sparse-random"'
    ),
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
    other = GOOD.replace("Blur", "Sharp").replace("blur", "sharp")
    distribution("invkit-sharp", {"invkit_sharp.py": other}, "[invkit]\nsharp = invkit_sharp\n")
    distribution("invkit-broken", kind.files(), kind.entries, kind.metadata)


def test_there_are_many_kinds():
    assert len(KINDS) >= 30


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
    assert any(kind.said in line for line in wrong), out
    code, out, err = invkit("validate", needs)
    assert (code, out, len(err)) == (4, [], 1)
    assert err[0].startswith(f"error: {needs}:2:1: degradation: ")
    assert kind.distribution in err[0]
    assert kind.said in err[0] or "a bad name" in kind.said or kind.old in ("{", '"blur"')


def test_two_plugins_of_one_name(distribution, invkit, recipes):
    install(distribution, Kind(""))
    distribution("invkit-second", {"invkit_second.py": GOOD}, "[invkit]\nsecond = invkit_second\n")
    assert invkit("validate", recipes("sharp"))[0] == 0
    code, _, (line,) = invkit("validate", recipes("blur"))
    assert code == 4
    assert "provided by both" in line
    assert "broken (invkit-broken 1.2)" in line
    assert "second (invkit-second 1.2)" in line
    rows = [line for line in invkit("plugins")[1] if line.startswith("blur ")]
    assert [line.split()[2:5] for line in rows] == [[f"invkit-{x}", "1.2", "conflict"] for x in ("broken", "second")]


def test_one_that_talks(distribution, invkit, recipes):
    """Not broken, but its prints must not stand among results."""
    install(distribution, Kind("", "from", "print('hello')\nfrom"))
    code, out, err = invkit("plugins", "--json")
    assert (code, out[0], err) == (0, "{", ["hello"])
    assert invkit("validate", recipes("blur"))[0] == 0


@pytest.mark.parametrize("kind", ["exit at import", "entry points without a value", "not frozen"])
def test_as_a_person_meets_it(kind, distribution, recipes):
    install(distribution, KINDS[kind])
    command = [sys.executable, "-m", "invkit", "validate", str(recipes("sharp")), str(recipes("blur"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert (done.returncode, done.stdout) == (4, f"{recipes('sharp')}: ok\n")
    assert "invkit-broken" in done.stderr
    assert KINDS[kind].said in done.stderr
    assert len(done.stderr.splitlines()) == 1
