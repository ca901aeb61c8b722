import ast
import subprocess
import sys
from pathlib import Path

from support.messages import raises

from invkit import api


def test_every_name_is_there():
    for name in api.__all__:
        assert getattr(api, name) is not None
    assert dir(api) == api.__all__
    with raises(AttributeError, "invkit.api", "Degradatoin"):
        _ = api.Degradatoin


def test_what_a_type_checker_sees_is_what_is_there():
    tree = ast.parse(Path(api.__file__).read_text("utf-8"))
    typed = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(typed) == api.__all__
    assert {name: home for home, names in api._HOMES.items() for name in names} == typed


def test_imports_no_torch():
    code = "import sys, invkit.api; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
