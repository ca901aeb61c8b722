"""The house: imports run downwards or within a floor without circles; files stay short."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = [
    {"device", "distributed", "errors", "field", "files", "grid", "keys", "lock", "settings", "signals"},
    {
        "compose", "convolution", "degradation", "diffusion", "gaussian", "kriging", "leastsquares", "neighbourhoods", "nn",
        "nothing", "operators", "optim", "points", "separable", "shapes", "stream",
    },
    {"data", "metrics", "reconstruct"},
    {
        "checkpoint", "conformal", "deviations", "evaluation", "figures", "gathering", "inputs", "joining", "merging", "partial",
        "pictures", "pointfiles", "posterior", "profiling", "ranking", "report", "rows", "statistics", "stored", "table", "tiles",
        "training", "trainsettings", "validation",
    },
    {
        "__init__", "api", "experiment", "fitting", "hookspecs", "installed", "inventory", "listener", "logbook",
        "lookup", "overrides", "plugins", "preview", "priors", "recipe", "reconstructing", "resolve", "runfolder", "scaffold",
        "schema", "smoke", "testing", "trained", "yamltree",
    },
    {"__main__", "cli", "clioptions", "clireconstruct", "progress"},
]  # fmt: skip
LIBRARIES = {"pluggy": 4, "yaml": 4, "click": 5}  # the lowest floor that may know a library

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
        ("invkit.grid", "from invkit.training import Train", "invkit.grid (floor 0) imports invkit.training (floor 3)"),
        ("invkit.keys", "import invkit.nn.base", "invkit.keys (floor 0) imports invkit.nn.base (floor 1)"),
        ("invkit.nn.base", "from invkit import recipe", "invkit.nn.base (floor 1) imports invkit.recipe (floor 4)"),
        ("invkit.nn.base", "def f():\n    from invkit.data.base import Images", "imports invkit.data.base (floor 2)"),
        ("invkit.grid", "from invkit.keys import Keys", "a circle: "),
        ("invkit.training", "import yaml", "invkit.training (floor 3) imports yaml"),
        ("invkit.data.base", "from pluggy import HookimplMarker", "invkit.data.base (floor 2) imports pluggy"),
        ("invkit.plugins", "import click", "invkit.plugins (floor 4) imports click"),
        ("invkit.plugins", "import invkit_sparse", "invkit.plugins imports the plugin invkit_sparse"),
        ("invkit.novelty", "", "invkit.novelty has no floor"),
    ],
)
def test_a_bent_floor_is_seen(module, line, said):
    code = sources("invkit")
    code["invkit.keys"] += "\nfrom invkit.grid import Grid\n"
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
