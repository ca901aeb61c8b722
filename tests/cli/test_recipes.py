"""`invkit validate` and `invkit show`."""

from support.messages import missing
from support.runs import HEAD, shell

from invkit.data.cifar10 import Cifar10
from invkit.recipe.read import installed


def test_validate(invkit, write):
    good, bad = write(HEAD, "good.yaml"), write(HEAD + "train: {step: 3}\nsead: 1\n", "bad.yaml")
    code, out, err = invkit("validate", good, bad, "nosuch.yaml")
    assert code == 2
    assert out == f"{good}: ok\n"
    first, second, third = err.splitlines()
    assert first.startswith(f"error: {bad}:3:9: train.step: ") and not missing(first, "'steps'")
    assert second.startswith(f"error: {bad}:4:1: sead: ") and not missing(second, "'seed'")
    assert third.startswith("error: nosuch.yaml:1:1: ") and not missing(third, ", ".join(installed()))
    assert invkit("validate", good) == (0, f"{good}: ok\n", "")


def test_validate_takes_overrides_and_looks_at_operators_and_data(invkit, write, tmp_path, monkeypatch):
    good = write(HEAD, "good.yaml")
    assert invkit("validate", good, "train.steps=7") == (0, f"{good}: ok\n", "")
    code, out, err = invkit("validate", good, "train.step=7")
    assert (code, out) == (2, "") and not missing(err, "command line: train.step=7", "'steps'")
    code, out, err = invkit("validate", good, "degradation.sensors=2000")
    assert (code, out) == (2, "") and not missing(err, "sparse-random", "2000x2000", "32x32")
    code, out, err = invkit("validate", good, "data.name=images", f"data.root={tmp_path / 'gone'}")
    assert (code, out) == (3, "") and not missing(err, tmp_path / "gone", "data.root")
    (tmp_path / "here").mkdir()
    code, out, err = invkit("validate", good, "data.name=images", f"data.root={tmp_path / 'here'}")
    assert (code, out) == (3, "") and not missing(err, "here", "no image")
    monkeypatch.setattr(Cifar10, "missing", lambda _: "CIFAR-10 is not on this machine yet")
    code, out, err = invkit("validate", good, "data.name=cifar10")
    assert (code, out) == (0, f"{good}: ok\n") and "downloads it" in err


def test_a_mistake_as_a_person_makes_it(write):
    path = write("data: photos\n\tdegradation: x\n")
    done = shell("run", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {path}:2:1: ") and done.stderr.count("\n") == 1
    done = shell("show", write(HEAD), "train.step=3")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: command line: train.step=3: train.step: ") and not missing(
        done.stderr, "'steps'"
    )


def test_show_prints_a_recipe_that_loads_again(invkit, write):
    code, out, err = invkit("show", write(HEAD), "train.steps=7")
    assert (code, err) == (0, "")
    origins = {line.partition("#")[0].strip(): line.partition("# ")[2] for line in out.splitlines()}
    assert (
        origins["steps: 7"] == "command line"
        and origins["batch: 64"] == "default"
        and origins["name: photos"] == "recipe"
    )
    again = invkit("show", write(out, "again.yaml"))[1]
    assert [line.partition("#")[0] for line in again.splitlines()] == [
        line.partition("#")[0] for line in out.splitlines()
    ]


def test_a_plugin_file(invkit, write):
    plugin = write(
        "from invkit.api import Degradation, Mask, hookimpl\n"
        "class Blur(Degradation):\n    def sample(self, keys, grid):\n"
        "        return Mask(keys.uniform('x', 1, *grid.shape) < 0.5, grid.channels)\n"
        "@hookimpl\ndef invkit_degradations():\n    return {'my-blur': Blur}\n",
        "blur.py",
    )
    recipe = write("data: photos\ndegradation: my-blur\n")
    assert invkit("validate", recipe)[0] == 2
    assert invkit("validate", recipe, "--plugin", plugin)[:2] == (0, f"{recipe}: ok\n")
    wrong = write(plugin.read_text().replace("keys.uniform", "keys.uniforms"), "wrong.py")
    code, out, err = invkit("validate", recipe, "--plugin", wrong)
    assert (code, out) == (4, "") and not missing(
        err, "'my-blur' on 32x32", "AttributeError", "uniforms", "line 4 of", wrong
    )
    broken = write("1 / 0\n", "broken.py")
    code, _, err = invkit("validate", recipe, "--plugin", broken)
    assert code == 4 and err.startswith("error: ") and err.count("\n") == 1
    assert not missing(err, "broken", broken, "ZeroDivisionError")


def test_an_unknown_name_while_a_plugin_failed(write):
    recipe = write("data: photos\ndegradation: my-blur\n")
    done = shell("validate", recipe, INVKIT_PLUGINS="blurs")
    assert done.returncode == 4
    assert done.stderr.startswith(f"error: {recipe}:2:1: degradation: ")
    assert not missing(done.stderr, "'my-blur'", "blurs", "INVKIT_PLUGINS")


def test_the_schema(invkit, tmp_path):
    code, out, _ = invkit("validate", "--schema")
    assert code == 0
    assert "sparse-random" in out
    assert invkit("validate", "--schema", tmp_path / "s.json") == (0, "", "")
    assert (tmp_path / "s.json").read_text("utf-8") == out
