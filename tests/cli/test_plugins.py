"""`invkit plugins`."""

import json
import re

from support import DOCS
from support.messages import missing

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
    assert code == 0 and not missing(err, "sparse-random.png")
    assert "fraction" in out
    shown = json.loads(invkit("plugins", "show", "sparse-random", "--json")[1])[0]
    assert (shown["kind"], shown["picture"]) == ("degradation", "sparse-random.png")
    code, out, err = invkit("plugins", "show", "sparse-randm")
    assert (code, out) == (2, "")
    assert not missing(err, "'sparse-random'")


def test_a_picture_needs_settings_that_do(invkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = invkit("plugins", "show", "sparse-center")
    assert code == 0 and not missing(out.splitlines()[0], "degradation sparse-center", "sparse (invkit 0.1.0)")
    assert not missing(err, "n, fraction and block")
    assert json.loads(invkit("plugins", "show", "sparse-center", "--json")[1])[0]["picture"] is None
    code, _, err = invkit("plugins", "show", "sparse-center", "block=0.3", "--picture", tmp_path / "b" / "c.png")
    assert code == 0 and not missing(err, tmp_path / "b" / "c.png")
    code, out, err = invkit("plugins", "show", "sparse-center", "blok=0.3")
    assert (code, out) == (2, "")
    assert err.startswith("error: command line: blok=0.3: blok: ") and not missing(err, "'block'")
    assert invkit("plugins", "show", "photos", "crops=3")[0] == 2
    assert invkit("plugins", "show", "photos")[2] == ""
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_new(invkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = invkit("plugins", "new", "my_blur")
    assert (code, out) == (0, "invkit-my-blur\n")
    assert "invkit plugins check my-blur" in err
    code, out, err = invkit("plugins", "new", "my_blur")
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and not missing(err, "invkit-my-blur", "invkit plugins new my_blur DIR")


def test_plugins_check(invkit, write):
    code, out, err = invkit("plugins", "check", "sparse-random", "--draws", 2)
    assert (code, err) == (0, "")
    assert "sparse-random" in out and "linearity" in out and "FAILED" not in out
    code, out, err = invkit("plugins", "check", "bad", "--plugin", write(BAD, "bad.py"), "--json", "--draws", "2")
    assert code == 4
    assert [check["name"] for check in json.loads(out)["checks"] if not check["passed"]] == ["adjoint"]
    first, second = err.splitlines()
    assert not missing(first, "bad", 1, 14) and not missing(second, "adjoint", 1, "1e-12")
    assert invkit("plugins", "check", "sparse-randm")[0] == 2
    code, out, err = invkit("plugins", "check", "x0")
    assert (code, out) == (2, "") and not missing(err, "x0", "preconditioning")
    code, out, err = invkit("plugins", "check", "denoise", "--kind", "sampler")
    assert (code, err) == (0, "") and "posterior" in out
    code, out, err = invkit("plugins", "check", "denoise", "--kind", "metric")
    assert (code, out) == (2, "") and not missing(err, "denoise is a degradation and a sampler, no metric")
    code, out, err = invkit("plugins", "check", "denoise", "--draws", "1")
    assert code == 0 and "linearity" in out and not missing(err, "--kind sampler")
    code, out, err = invkit("plugins", "check", "images")
    assert (code, out) == (4, "") and not missing(err, "ImageFiles", "KEY=VALUE")


def test_a_check_that_was_skipped_is_not_ok(invkit):
    code, out, _ = invkit("plugins", "check", "sparse-random", "--draws", 1)
    line = next(line for line in out.splitlines() if "resolution" in line)
    assert code == 0 and "skipped" in line and " ok " not in line


def test_plugins_of_every_kind_are_checked(invkit, write):
    examples = re.findall(r"```python\n(.*?)```", (DOCS / "reference/hooks.md").read_text("utf-8"), re.S)
    names = ("pixels", "flat", "flat-grey", "brightness_bias", "laplace", "euler", "plain-cnn", "shrinkage")
    assert len(examples) == len(names)
    file = write("\n".join(examples), "all.py")
    for name in names:
        code, out, err = invkit("plugins", "check", name, "--plugin", file)
        assert (code, err) == (0, "") and name in out and " ok " in out
    assert json.loads(invkit("plugins", "check", "flat", "count=2", "--plugin", file, "--json")[1])["dataset"] == "flat"
    assert invkit("plugins", "check", "flat", "count=0", "--plugin", file)[0] == 2
    broken = write("\n".join(examples).replace("torch.ones_like(bias)", "bias.mean()"), "broken.py")
    code, _, err = invkit("plugins", "check", "brightness_bias", "--plugin", broken)
    assert code == 4 and not missing(err, "brightness_bias", "components: count is ()", "4 images")
