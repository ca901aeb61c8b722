"""The documentation site is built without a warning."""

import os
import subprocess
import sys

from support import DOCS, ROOT


def build(source, target):
    """What Sphinx prints, with every warning an error."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(source), str(target)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    return done.returncode, done.stdout + done.stderr


def test_the_site_is_built_without_a_warning(tmp_path):
    code, text = build(DOCS, tmp_path / "site")
    assert code == 0, text
    pages = {page.relative_to(tmp_path / "site").as_posix() for page in (tmp_path / "site").rglob("*.html")}
    sources = {page.relative_to(DOCS).with_suffix(".html").as_posix() for page in DOCS.rglob("*.md")}
    assert sources - pages == {page for page in sources if page.startswith("_build/")}


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "conf.py").write_text("extensions = ['myst_parser']\nmyst_heading_anchors = 4\n", "utf-8")
    (tmp_path / "index.md").write_text("# A\n\n[b](b.md) and [c](#nowhere)\n", "utf-8")
    code, text = build(tmp_path, tmp_path / "_build")
    assert code
    assert "b.md" in text and "nowhere" in text
