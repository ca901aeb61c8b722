"""Exit codes, streams and messages; most calls run in this process, a few as a person's would."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import warnings

import click
import pytest

from invkit import cli, errors
from invkit.lookup import installed

HEAD = "data: photos\ndegradation: sparse-random\n"


def shell(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "invkit", *map(str, arguments)],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_import_no_torch(argument):
    code = (
        "import sys, atexit; from invkit.cli import main\n"
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


def test_validate(invkit, write):
    good, bad = write(HEAD, "good.yaml"), write(HEAD + "train: {step: 3}\nsead: 1\n", "bad.yaml")
    code, out, err = invkit("validate", good, bad, "nosuch.yaml")
    assert code == 2
    assert out == f"{good}: ok\n"
    assert err.splitlines() == [
        f"error: {bad}:3:9: train.step: unknown setting (did you mean 'steps'?)",
        f"error: {bad}:4:1: sead: unknown setting (did you mean 'seed'?)",
        f"error: nosuch.yaml:1:1: there is no such recipe (installed: {', '.join(installed())})",
    ]
    assert invkit("validate", good) == (0, f"{good}: ok\n", "")


def test_a_mistake_as_a_person_makes_it(write):
    path = write("data: photos\n\tdegradation: x\n")
    done = shell("run", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {path}:2:1: a tab in the indentation; indent with spaces\n"
    done = shell("show", write(HEAD), "train.step=3")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: command line: train.step=3: train.step: unknown setting (did you mean 'steps'?)\n"


def test_show_prints_a_recipe_that_loads_again(invkit, write):
    code, out, err = invkit("show", write(HEAD), "train.steps=7")
    assert (code, err) == (0, "")
    assert "  steps: 7\n" in out
    assert invkit("show", write(out, "again.yaml")) == (0, out, "")


def test_a_plugin_file(invkit, write):
    plugin = write(
        "from invkit.api import Degradation, hookimpl\n"
        "class Blur(Degradation):\n    def sample(self, keys, grid): ...\n"
        "@hookimpl\ndef invkit_degradations():\n    return {'my-blur': Blur}\n",
        "blur.py",
    )
    recipe = write("data: photos\ndegradation: my-blur\n")
    assert invkit("validate", recipe)[0] == 2
    assert invkit("validate", recipe, "--plugin", plugin)[:2] == (0, f"{recipe}: ok\n")
    broken = write("1 / 0\n", "broken.py")
    code, _, err = invkit("validate", recipe, "--plugin", broken)
    assert (code, err) == (4, f"error: plugin broken ({broken}): ZeroDivisionError: division by zero\n")


def test_an_unknown_name_while_a_plugin_failed(write):
    recipe = write("data: photos\ndegradation: my-blur\n")
    done = shell("validate", recipe, INVKIT_PLUGINS="blurs")
    assert done.returncode == 4
    assert done.stderr.startswith(f"error: {recipe}:2:1: degradation: unknown degradation 'my-blur'")
    assert "plugin blurs (INVKIT_PLUGINS): no such plugin is installed" in done.stderr


def test_plugins(invkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = invkit("plugins")
    assert code == 0
    assert "sparse-random" in out
    assert invkit("plugins", "list")[1] == out
    assert invkit("plugins", "--json") == invkit("plugins", "list", "--json")
    assert invkit("plugins", "--json", "show", "heun")[0] == 2
    names = {(row["kind"], row["name"]) for row in json.loads(invkit("plugins", "list", "--json")[1])["plugins"]}
    assert {("dataset", "photos"), ("degradation", "sparse-random")} <= names
    code, out, err = invkit("plugins", "show", "sparse-random")
    assert (code, err) == (0, "picture: sparse-random.png\n")
    assert "fraction" in out
    shown = json.loads(invkit("plugins", "show", "sparse-random", "--json")[1])[0]
    assert (shown["kind"], shown["picture"]) == ("degradation", "sparse-random.png")
    code, out, err = invkit("plugins", "show", "sparse-randm")
    assert (code, out) == (2, "")
    assert "did you mean 'sparse-random'" in err


def test_a_picture_needs_settings_that_do(invkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = invkit("plugins", "show", "sparse-center")
    assert (code, out.splitlines()[0]) == (0, "degradation sparse-center, from sparse (invkit 0.1.0)")
    assert err.startswith("no picture: give exactly one of n, fraction and block (as in ")
    assert json.loads(invkit("plugins", "show", "sparse-center", "--json")[1])[0]["picture"] is None
    code, _, err = invkit("plugins", "show", "sparse-center", "block=0.3", "--picture", tmp_path / "b" / "c.png")
    assert (code, err) == (0, f"picture: {tmp_path / 'b' / 'c.png'}\n")
    code, out, err = invkit("plugins", "show", "sparse-center", "blok=0.3")
    assert (code, out) == (2, "")
    assert err == "error: command line: blok=0.3: blok: unknown setting (did you mean 'block'?)\n"
    assert invkit("plugins", "show", "photos", "crops=3")[0] == 2
    assert invkit("plugins", "show", "photos")[2] == ""
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_the_schema(invkit, tmp_path):
    code, out, _ = invkit("validate", "--schema")
    assert code == 0
    assert "sparse-random" in out
    assert invkit("validate", "--schema", tmp_path / "s.json") == (0, "", "")
    assert (tmp_path / "s.json").read_text("utf-8") == out


def test_new(invkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = invkit("plugins", "new", "my_blur")
    assert (code, out) == (0, "invkit-my-blur\n")
    assert "invkit plugins check my-blur" in err
    code, out, err = invkit("plugins", "new", "my_blur")
    assert (code, out) == (2, "")
    assert err == "error: invkit-my-blur exists and is not empty; name another: invkit plugins new my_blur DIR\n"


BAD = """\
from dataclasses import dataclass
from invkit.api import Degradation, Mask, hookimpl

@dataclass(frozen=True, eq=False)
class Open(Mask):
    def adjoint(self, y):
        return y

class Bad(Degradation):
    def sample(self, keys, grid):
        return Open(keys.uniform("seen", 1, *grid.shape) < 0.5, grid.channels)

@hookimpl
def invkit_degradations():
    return {"bad": Bad}
"""


def test_plugins_check(invkit, write):
    code, out, err = invkit("plugins", "check", "sparse-random", "--draws", 2)
    assert (code, err) == (0, "")
    assert "sparse-random" in out and "linearity" in out and "FAILED" not in out
    code, out, err = invkit("plugins", "check", "bad", "--plugin", write(BAD, "bad.py"), "--json", "--draws", "2")
    assert code == 4
    assert [check["name"] for check in json.loads(out)["checks"] if not check["passed"]] == ["adjoint"]
    assert err.startswith("error: bad fails 1 of 13 checks\nerror: adjoint: 1, at most 1e-12 allowed: ")
    assert invkit("plugins", "check", "sparse-randm")[0] == 2
    assert invkit("plugins", "check", "photos")[0] == 2


def test_doctor(invkit):
    assert invkit("doctor")[0] == 0
    assert {"python", "libraries", "device", "plugins"} <= set(json.loads(invkit("doctor", "--json")[1]))


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["run"], ["run", "x", "--device", "tpu"], ["validate"], ["run", "--frsh"]]
)
def test_usage(invkit, arguments):
    code, out, err = invkit(*arguments)
    assert (code, out) == (2, "")
    assert "Error: " in err


def test_a_run_that_cannot_be_evaluated(invkit, tmp_path):
    code, out, err = invkit("eval", tmp_path)
    assert (code, out) == (3, "")
    assert "is no run folder" in err
    assert invkit("eval", "eval.images=3")[0] == 2


TINY = """\
data: {name: photos}
degradation: {name: sparse-random}
model: {name: fno-unet, channels: 16, mult: [1], blocks: 1, modes: 3, embedding: 8}
train: {steps: 3, batch: 2, grids: [16], precision: float32}
sample: {steps: 2}
eval: {images: 3, samples: 2}
log: {tensorboard: false}
"""


def test_run_and_eval_print_the_table_and_nothing_else_on_stdout(invkit, write, tmp_path):
    recipe = write(TINY, "tiny.yaml")
    code, out, err = invkit("run", recipe, "--out", tmp_path / "a", "--device", "cpu")
    assert code == 0
    assert "gaussian" in out
    assert "psnr" in out
    assert "step 3/3  loss" in err
    assert "images/s" in err
    assert "report.html" in err
    assert "everything is done" in invkit("run", recipe, "--out", tmp_path / "a")[2]
    code, _, err = invkit("run", recipe, "seed=1", "--out", tmp_path / "a")
    assert code == 2
    assert "--fresh" in err
    invkit("run", recipe, "seed=1", "--out", tmp_path / "b")
    code, out, _ = invkit("eval", tmp_path / "a", tmp_path / "b", "--format", "json")
    assert code == 0
    assert [row["run"] for row in json.loads(out)["rows"]] == ["a"] * 5 + ["b"] * 5
    assert invkit("eval", tmp_path / "a", "--format", "json", "--out", tmp_path / "t.json")[:2] == (0, "")
    assert json.loads((tmp_path / "t.json").read_text()) == json.loads((tmp_path / "a/eval/table.json").read_text())
    assert invkit("eval", tmp_path / "a", "--format", "md")[1].startswith("| ")


def test_a_run_of_a_plugin_file_is_evaluated_with_it(invkit, write, tmp_path):
    source = (
        "from invkit.api import Degradation, Mask, hookimpl\nimport torch\n"
        "class Top(Degradation):\n    def sample(self, keys, grid):\n"
        "        seen = torch.arange(grid.height) < grid.height // 2\n"
        "        return Mask(seen[:, None].expand(len(keys), 1, *grid.shape), grid.channels)\n"
        "@hookimpl\ndef invkit_degradations():\n    return {'top': Top}\n"
    )
    plugin, folder = write(source, "top.py"), tmp_path / "a"
    recipe = write(TINY.replace("{name: sparse-random}", "top"), "tiny.yaml")
    assert invkit("run", recipe, "--out", folder, "--device", "cpu", "--plugin", plugin)[0] == 0
    record = json.loads((folder / "record.json").read_text("utf-8"))
    assert record["plugin_files"] == {"top.py": hashlib.sha256(source.encode()).hexdigest()}
    code, _, err = invkit("eval", folder)
    assert code == 2
    assert err.splitlines()[-1] == f"error: {folder} was made with --plugin top.py; give it again"
    code, out, _ = invkit("eval", folder, "--plugin", plugin, "eval.images=2", "--format", "json", "--device", "cpu")
    assert (code, {row["degradation"] for row in json.loads(out)["rows"]}) == (0, {"top"})
    code, _, err = invkit("eval", folder, "sead=1", "--plugin", plugin)
    assert (code, "was made with" in err) == (2, False)


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
        (OSError(errno.EACCES, "denied", "/root/x"), 2, "error: /root/x: denied; give a path that can be used\n"),
        (OSError(errno.EACCES, "denied"), 1, "Traceback"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), 1, "Traceback"),
        (ZeroDivisionError("oh"), 1, "Traceback"),
    ],
)
def test_exit_codes(invkit, monkeypatch, error, code, said):
    def fail(*_):
        raise error

    monkeypatch.setattr(cli, "_registry", fail)
    got, out, err = invkit("plugins", "list")
    assert (got, out) == (code, "")
    assert said in err
    assert ("Traceback" in err) == (code == 1)


def test_out_of_gpu_memory(invkit, monkeypatch):
    import torch

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(cli, "_registry", fail)
    assert invkit("plugins", "list")[0] == 6


def test_a_warning_is_one_line_without_source_code(invkit, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(cli, "_registry", lambda _: warnings.warn("it is\n  damaged", stacklevel=1))
        monkeypatch.setattr("invkit.inventory.listing", lambda _: {})
        assert invkit("plugins", "list", "--json") == (0, "{}\n", "warning: it is damaged\n")


def test_a_reader_that_goes_away(write):
    command = f"{sys.executable} -m invkit show {write(HEAD)} | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""


def test_a_run_folder_that_cannot_be(invkit, write, tmp_path):
    file = write("", "file")
    code, out, err = invkit("run", write(TINY), "--out", file / "run")
    assert (code, out) == (2, "")
    assert err == f"error: {file}: File exists; give a path that can be used\n"


def test_debugging_shows_the_traceback(invkit, monkeypatch):
    monkeypatch.setenv("INVKIT_DEBUG", "1")
    code, _, err = invkit("validate", "nosuch.yaml")
    assert code == 2
    assert "Traceback" in err
