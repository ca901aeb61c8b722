"""Exit codes, streams and messages; most calls run in this process, a few as a person's would."""

import errno
import subprocess
import sys
import warnings

import click
import pytest
from support.runs import HEAD

from invkit.cli import main as cli
from invkit.core import errors


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_import_no_torch(argument):
    code = (
        "import sys, atexit; from invkit.cli.main import main\n"
        f"atexit.register(lambda: print('torch' in sys.modules, 'pydantic' in sys.modules))\nmain(['{argument}'])"
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
    assert "Error: " in err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.RecipeError("bad"), 2, "error: bad\n"),
        (errors.DataError("bad\nworse"), 3, "error: bad\nerror: worse\n"),
        (errors.PluginError("bad"), 4, "error: bad\n"),
        (errors.NonFiniteError("bad"), 5, "error: bad\n"),
        (errors.Interrupted("saved"), 75, "error: saved\n"),
        (MemoryError(), 6, "error: out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 6, "error: out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), 6, "error: the disk is full"),
        (click.UsageError("bad"), 2, "Error: bad"),
        (KeyboardInterrupt(), 130, "stopped\n"),
        (OSError(errno.EACCES, "denied", "/root/x"), 2, "error: /root/x: denied; use another path\n"),
        (OSError(errno.EACCES, "denied"), 1, "Traceback"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), 1, "Traceback"),
        (ZeroDivisionError("oh"), 1, "Traceback"),
    ],
)
def test_exit_codes(invkit, monkeypatch, error, code, said):
    def fail(*_):
        raise error

    monkeypatch.setattr("invkit.cli.plugins.registry_of", fail)
    got, out, err = invkit("plugins", "list")
    assert (got, out) == (code, "")
    assert said in err
    assert ("Traceback" in err) == (code == 1)


def test_out_of_gpu_memory(invkit, monkeypatch):
    import torch

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("invkit.cli.plugins.registry_of", fail)
    assert invkit("plugins", "list")[0] == 6


def test_a_warning_is_one_line_without_source_code(invkit, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(cli, "_registry", lambda _: warnings.warn("it is\n  damaged", stacklevel=1))
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
