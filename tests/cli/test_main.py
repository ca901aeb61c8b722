"""Exit codes, streams and messages; most calls run in this process, a few as a person's would."""

import errno
import os
import subprocess
import sys
import warnings

import click
import pytest
import torch
from support.runs import HEAD

from invkit.cli import main as cli
from invkit.core import errors


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["reconstruct", "--help"]], ids=" ".join)
def test_help_and_version_import_no_torch(arguments):
    code = (
        "import sys, atexit; from invkit.cli.main import main\n"
        f"atexit.register(lambda: print('torch' in sys.modules, 'pydantic' in sys.modules))\nmain({arguments})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "False False"
    assert "invkit" in done.stdout


def test_the_contracts_commands_and_options_are_there(invkit):
    assert set(cli.cli.commands) >= {"run", "eval", "reconstruct", "validate", "show", "doctor", "plugins"}
    code, out, _ = invkit("run", "--help")
    assert code == 0
    for option in ("--out", "--device", "--fresh", "--smoke", "--plugin"):
        assert option in out
    for option in ("--format", "--out", "--device", "--plugin"):
        assert option in invkit("eval", "--help")[1]


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["run"], ["run", "x", "--device", "tpu"], ["validate"], ["run", "--frsh"]]
)
def test_usage(invkit, arguments):
    code, out, err = invkit(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1


FULL = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.RecipeError("bad"), 2, "error: bad\n"),
        (errors.DataError("bad\nworse"), 3, "error: bad\nerror: worse\n"),
        (errors.PluginError("bad"), 4, "error: bad\n"),
        (errors.NonFiniteError("bad"), 5, "error: bad\n"),
        (errors.Interrupted("saved"), 75, "saved\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 6, "disk"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 6, "disk"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 6, "memory"),
        (MemoryError(), 6, "memory"),
        (RuntimeError(f"[enforce fail] {FULL}"), 6, "memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), 6, "memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried\nto allocate"), 6, "memory"),
        (click.UsageError("bad"), 2, "error: bad"),
        (KeyboardInterrupt(), 130, ""),
        (OSError(errno.EACCES, "denied", "/root/x"), 2, "error: /root/x: denied"),
        (OSError(errno.EACCES, "denied"), 1, "Traceback"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), 1, "Traceback"),
        (ZeroDivisionError("oh"), 1, "Traceback"),
        (RuntimeError("a bug"), 1, "a bug"),
    ],
)
def test_exit_codes(invkit, monkeypatch, error, code, said):
    def fail(*_):
        raise error

    monkeypatch.setattr("invkit.cli.plugins.load_registry", fail)
    got, out, err = invkit("plugins", "list")
    assert (got, out) == (code, "")
    assert said in err
    assert ("Traceback" in err) == (code == 1) and (code != 75 or "error" not in err)
    if code == 6:
        assert err.startswith("error: ") and err.count("\n") == 1


def test_a_warning_is_one_line_without_source_code(invkit, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(
            "invkit.cli.plugins.load_registry", lambda _: warnings.warn("it is\n  damaged", stacklevel=1)
        )
        monkeypatch.setattr("invkit.plugins.inventory.listing", lambda _: {})
        assert invkit("plugins", "list", "--json") == (0, "{}\n", "warning: it is damaged\n")


def test_a_reader_that_goes_away(write):
    command = f"{sys.executable} -m invkit show {write(HEAD)} | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""


def test_debugging_shows_the_traceback(invkit, monkeypatch):
    monkeypatch.setenv("INVKIT_DEBUG", "1")
    code, _, err = invkit("validate", "nosuch.yaml")
    assert code == 2
    assert "Traceback" in err


def test_a_stream_without_our_characters_gets_similar_ones():
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    code = "from invkit.cli import main; main._usable_streams(); print('−18.2 ±0.3 ▲ –⁴ ● é ♥')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert done.stdout.decode("cp1252").strip() == "-18.2 ±0.3 ^ –4 # é ?"


@pytest.mark.parametrize(
    ("typed", "expected"), [("invkit ru", ["plain,run", "plain,runs"]), ("invkit run quick", ["plain,quickstart"])]
)
def test_a_shell_completes_commands_and_recipes(typed, expected):
    words = {"_INVKIT_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    done = subprocess.run([sys.executable, "-m", "invkit"], capture_output=True, text=True, env={**os.environ, **words})
    assert [line for line in done.stdout.splitlines() if not line.startswith("file,")] == expected


@pytest.mark.skipif(os.name != "posix", reason="closes streams in a shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_streams_may_be_closed(closed, tmp_path):
    command = f"{sys.executable} -m invkit doctor {closed}"
    if "<" in closed:
        command += f" && {sys.executable} -m invkit plugins check denoise --draws 1 {closed}"
    assert subprocess.run(["sh", "-c", command], check=False, cwd=tmp_path).returncode == 0
