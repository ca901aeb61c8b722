"""The layout: imports between packages run downwards without circles; files, functions and signatures stay short."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = [  # packages, from the ground up
    {"core"},
    {"physics"},
    {"data", "diffusion"},
    {"reconstructors"},
    {"evaluation"},
    {"testing", "training"},
    {"plugins"},
    {"api", "recipe"},
    {"experiment"},
    {"__init__", "__main__", "cli"},
]
LIBRARIES = {"pluggy": 6, "yaml": 7, "click": 9}  # the lowest floor that may know a library

Sources = dict[str, str]  # module name -> text


def sources(*folders: str) -> Sources:
    found = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT if folder == "invkit" else ROOT / folder).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text("utf-8")
    return found


def imports(text: str, module: str, modules: set[str]) -> Iterator[str]:
    """Everything a module imports, anywhere in it: full names, `from package import module` resolved."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in modules else str(node.module)


def floor(module: str) -> int:
    part = [*module.split("."), "__init__"][1]
    return next((number for number, parts in enumerate(FLOORS) if part in parts), -1)


def faults(code: Sources) -> list[str]:
    """What breaks the rules of the house."""
    found, graph = [], {}
    for module, text in code.items():
        here = floor(module)
        if here < 0:
            found.append(f"{module} has no floor")
        graph[module] = set()
        for name in imports(text, module, set(code)):
            top = name.split(".")[0]
            if top == "invkit" and floor(name) > here:
                found.append(f"{module} (floor {here}) imports {name} (floor {floor(name)})")
            if here < LIBRARIES.get(top, 0):
                found.append(f"{module} (floor {here}) imports {top}")
            if top.startswith("invkit_"):
                found.append(f"{module} imports the plugin {top}")
            if name in code and name != module:
                graph[module].add(name)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(f"a circle: {' <- '.join(error.args[1])}")
    return found


def test_imports_run_downwards():
    code = sources("invkit")
    assert len(code) > 30
    assert faults(code) == []


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        (
            "invkit.core.grid",
            "from invkit.training.trainer import Trainer",
            "(floor 0) imports invkit.training.trainer (floor 5)",
        ),
        (
            "invkit.core.keys",
            "import invkit.physics.degradation",
            "(floor 0) imports invkit.physics.degradation (floor 1)",
        ),
        (
            "invkit.diffusion.loss",
            "from invkit import recipe",
            "invkit.diffusion.loss (floor 2) imports invkit.recipe (floor 7)",
        ),
        (
            "invkit.physics.degradation",
            "def f():\n    from invkit.data.base import Images",
            "imports invkit.data.base (floor 2)",
        ),
        ("invkit.core.grid", "from invkit.core.keys import Keys", "a circle: "),
        ("invkit.training.trainer", "import yaml", "invkit.training.trainer (floor 5) imports yaml"),
        ("invkit.data.base", "from pluggy import HookimplMarker", "invkit.data.base (floor 2) imports pluggy"),
        ("invkit.plugins.registry", "import click", "invkit.plugins.registry (floor 6) imports click"),
        ("invkit.plugins.registry", "import invkit_sparse", "invkit.plugins.registry imports the plugin invkit_sparse"),
        ("invkit.novelty", "", "invkit.novelty has no floor"),
    ],
)
def test_a_bent_floor_is_seen(module, line, said):
    code = sources("invkit")
    code["invkit.core.keys"] += "\nfrom invkit.core.grid import Grid\n"
    code[module] = code.get(module, "") + f"\n{line}\n"
    assert any(said in fault for fault in faults(code)), faults(code)


def strangers(code: Sources) -> list[str]:
    """What plugins import of invkit beside its public module."""
    return [
        f"{module} imports {name}"
        for module, text in code.items()
        for name in imports(text, module, set(code))
        if name.split(".")[0] == "invkit" and name != "invkit.api"
    ]


def test_plugins_know_the_public_module_only():
    code = sources("plugins")
    assert "invkit_sparse" in code
    assert strangers(code) == []
    for line in ("from invkit.keys import Keys", "import invkit", "from invkit import keys"):
        assert strangers({"invkit_x": line}) != []


def overlong(limit: int) -> list[str]:
    files = [path for folder in ("invkit", "plugins", "tests") for path in (ROOT / folder).rglob("*.py")]
    return [str(path) for path in files if len(path.read_text("utf-8").splitlines()) > limit]


def test_files_are_short():
    assert overlong(400) == []
    assert len(overlong(3)) > 30


LINES, PARAMETERS = 60, 7  # of a function at most; its own instance or class is not counted
EXCEPTIONS = {  # what may have more parameters, and why
    "invkit.run": "the public function: one keyword for each option of the command",
    "invkit.experiment.trained_model.posterior": "the public function: how to draw, and how to sample",
    "invkit.evaluation.report.images.sample_sheet": "an argument for each column",
    "invkit.cli.run.run": "a command: click hands over one argument for each option",
    "invkit.cli.run.evaluate": "a command: click hands over one argument for each option",
    "invkit.cli.reconstruct.reconstruct": "a command: click hands over one argument for each option",
}


def oversized(code: Sources) -> set[str]:
    """Functions with too many lines or parameters, by their full names."""
    found = set()
    for module, text in code.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                count = len([name for name in names if name not in ("self", "cls")])
                if count > PARAMETERS or node.end_lineno - node.lineno >= LINES:
                    found.add(f"{module}.{node.name}")
    return found


def test_functions_are_short_and_take_few_parameters():
    assert oversized(sources("invkit", "plugins")) == set(EXCEPTIONS)
    long = "def f():\n" + "    x = 1\n" * LINES
    assert oversized({"a": long, "b": "def f(a, b, c, d, e, f, g, *, h): ..."}) == {"a.f", "b.f"}
    assert oversized({"a": "class A:\n    def f(self, a, b, c, d, e, f, g): ..."}) == set()


def test_the_listing_is_short_and_every_package_says_what_it_holds():
    folder = ROOT / "invkit"
    entries = [path for path in folder.iterdir() if path.name[0] not in "_." or path.name == "__init__.py"]
    assert len([path for path in entries if path.suffix == ".py"]) <= 4
    packages = [path for path in entries if (path / "__init__.py").exists()]
    assert {path.name for path in packages} <= set().union(*FLOORS) and len(packages) <= 13
    for init in folder.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(init.read_text("utf-8"))), init
