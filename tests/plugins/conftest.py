import sys
from importlib.metadata import EntryPoint

import pytest


@pytest.fixture
def entry(write, tmp_path, monkeypatch):
    """Writes a module with some source into a folder on the path, and gives its entry point."""
    monkeypatch.delenv("INVKIT_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = []

    def entry(name, source):
        write(source, f"{name}_plugin.py")
        modules.append(f"{name}_plugin")
        return f"invkit-{name}", "1.2", EntryPoint(name, f"{name}_plugin", "invkit")

    yield entry
    for module in modules:
        sys.modules.pop(module, None)
