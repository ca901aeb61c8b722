"""`invkit plugins`."""

import json

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


def test_new(invkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = invkit("plugins", "new", "my_blur")
    assert (code, out) == (0, "invkit-my-blur\n")
    assert "invkit plugins check my-blur" in err
    code, out, err = invkit("plugins", "new", "my_blur")
    assert (code, out) == (2, "")
    assert err == "error: invkit-my-blur exists and is not empty; name another: invkit plugins new my_blur DIR\n"


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
