"""The pages of the site: every command is one that exists, and those of start, tutorials and how-to run in small."""

import re
import shlex
import subprocess
import sys

import click
import pytest
from support import DOCS, ROOT

from invkit.cli import main as cli

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
RUN = [
    DOCS / f"{name}.md"
    for name in (
        "start/first_reconstruction", "start/first_training", "tutorials/own_images", "tutorials/scattered_sensors",
        "tutorials/comparing", "tutorials/sharing", "howto/recipes", "howto/resume", "howto/evaluating",
        "howto/out_of_distribution", "howto/troubleshooting",
    )
]  # fmt: skip


def commands(text):
    """The commands of invkit in the blocks in `bash`."""
    blocks = (block for language, block in BLOCK.findall(text) if language == "bash")
    yield from (
        line.partition("  # exit code")[0]
        for block in blocks
        for line in block.splitlines()
        if line.startswith("invkit ")
    )


def parsed(line):
    """Raises click.UsageError if a command of invkit or one of its options does not exist."""
    words = shlex.split(line.partition(" > ")[0])[1:]
    command, context = cli.cli, click.Context(cli.cli, info_name="invkit")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, found, words = command.resolve_command(context, words)
        command, context = found, click.Context(found, info_name=name, parent=context)
    command.make_parser(context).parse_args(list(words))


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_every_command_of_a_page_exists(page):
    for line in commands(page.read_text("utf-8")):
        parsed(line)


@pytest.mark.parametrize(
    "line", ["invkit rum quickstart", "invkit run quickstart --smoke-test", "invkit plugins list --all"]
)
def test_a_command_that_does_not_exist_is_found(line):
    with pytest.raises(click.UsageError):
        parsed(line)


def small(words):
    """A command as the page has it, with runs and trainings in small."""
    if words[:2] == ["invkit", "run"]:
        name = words[2].removeprefix("recipes/").removesuffix(".yaml")
        words = [*words, "--smoke", *([] if "--out" in words else ["--out", f"runs/{name}"])]
    return [ROOT / "recipes/quickstart.yaml" if word == "recipes/quickstart.yaml" else word for word in words]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_page_does_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "invkit").symlink_to(ROOT / "invkit")
    (tmp_path / "photo.png").symlink_to(ROOT / "invkit/data/embedded/photo07.webp")
    ran = 0
    for language, text in BLOCK.findall(page.read_text("utf-8")):
        if language in ("python", "yaml"):
            (tmp_path / re.match(r"# (\S+)\n", text)[1]).write_text(text, "utf-8")
        for line in text.splitlines() if language == "bash" else ():
            line, _, target = line.partition(" > ")
            words = [*map(str, small(shlex.split(line)))]
            if words[0] == "pip":
                continue
            program = [
                sys.executable,
                "-P",
                *(["-m", "invkit"] if words[0] == "invkit" else []),
            ]  # not the folder above
            done = subprocess.run([*program, *words[1:]], capture_output=True, text=True, check=False, timeout=600)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            if target:
                (tmp_path / target).write_text(done.stdout, "utf-8")
            ran += 1
    assert ran
