"""The tutorial, block by block: files are written, commands run, exit codes are what it says."""

import re
import shlex
import subprocess
import sys

import pytest
from support import DOCS

from invkit.cli import main as cli
from invkit.plugins.loader import registry

PAGE = (DOCS / "tutorials/write_a_plugin.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)


def test_the_first_degradation_is_short():
    first = next(text for language, text in BLOCKS if language == "python")
    assert "class DeadRows(Degradation)" in first
    assert "return {" in first
    assert len(first.splitlines()) <= 30


class Reader:
    """Does what the page says, in a folder of its own; what is installed goes into `site`, and no network is used."""

    def __init__(self, folder, site):
        self.folder, self.site = folder, site

    def file(self, text):
        name = re.match(r"# (\S+)\n", text)[1]
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text, "utf-8")

    def command(self, line, monkeypatch):
        line, _, code = line.partition("  # exit code ")
        words = shlex.split(line)
        if words[0] == "invkit":
            monkeypatch.chdir(self.folder)
            with pytest.raises(SystemExit) as caught:
                cli.main(words[1:])
            assert caught.value.code == int(code or 0), line
        elif words[0] == "cd":
            self.folder = self.folder / words[1]
        elif words == ["pip", "install", "-e", ".[test]"]:
            offline = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(self.site)]
            self._run(sys.executable, "-m", "pip", "install", "-q", *offline, ".")
            monkeypatch.syspath_prepend(str(self.site))
            monkeypatch.setenv("PYTHONPATH", str(self.site))
            registry.cache_clear()
        elif words == ["pytest"]:
            self._run(sys.executable, "-m", "pytest", "-q")
        else:
            assert words[0] == "cp"
            self._run(*words)

    def _run(self, *command):
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def fresh(monkeypatch):
    """Forgets what was installed meanwhile."""
    monkeypatch.delenv("INVKIT_PLUGINS", raising=False)
    registry.cache_clear()
    before = set(sys.modules)
    yield
    registry.cache_clear()
    for name in {name for name in set(sys.modules) - before if "dead_rows" in name}:
        del sys.modules[name]


@pytest.mark.usefixtures("fresh")
def test_the_page_does_what_it_says(tmp_path, monkeypatch, capsys):
    reader = Reader(tmp_path, tmp_path / "site")
    for language, text in BLOCKS:
        if language in ("python", "yaml"):
            reader.file(text)
        elif language == "bash":
            for line in text.splitlines():
                reader.command(line, monkeypatch)
        else:
            assert language == "text"  # what needs an account
    out = capsys.readouterr().out
    assert re.search(r"^dead-rows +degradation +invkit-dead-rows +0.1.0 +ok", out, re.M)
    assert (tmp_path / "dead-rows.png").is_file()
    assert (tmp_path / "runs/dead_rows-smoke/report.html").is_file()
    assert out.count("dead_rows.yaml: ok") == 2
    assert {language for language, _ in BLOCKS} == {"python", "yaml", "bash", "text"}
