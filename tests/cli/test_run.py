"""`invkit run` and `invkit eval`."""

import hashlib
import json
import shutil

import pytest
from support.messages import missing
from support.runs import TINY, shell


def test_a_run_that_cannot_be_evaluated(invkit, tmp_path):
    code, out, err = invkit("eval", tmp_path)
    assert (code, out) == (3, "")
    assert not missing(err, tmp_path, "invkit run")
    assert invkit("eval", "eval.images=3")[0] == 2


def test_run_and_eval_print_the_table_and_nothing_else_on_stdout(invkit, write, tmp_path, trained_run):
    recipe = write(TINY, "tiny.yaml")
    code, out, err = invkit("run", recipe, "--out", tmp_path / "a", "--device", "cpu")
    assert code == 0
    assert not missing(out, "gaussian", "psnr") and not missing(err, "step 3/3", "loss", "report.html")
    notes = [line for line in err.splitlines() if not line.startswith(("step", "evaluated"))]
    assert len(set(notes)) == len(notes)
    assert "step 3/3" not in invkit("run", recipe, "--out", tmp_path / "a")[2]
    code, _, err = invkit("run", recipe, "seed=1", "--out", tmp_path / "a")
    assert code == 2
    assert "--fresh" in err
    code, _, err = invkit("eval", tmp_path / "a", "eval.images=2", "-q")
    assert code == 0 and "evaluated" not in err and "eval" not in err
    code, out, _ = invkit("eval", tmp_path / "a", trained_run, "--format", "json")
    assert code == 0
    assert [row["run"] for row in json.loads(out)["rows"]] == ["a"] * 5 + ["run"] * 5
    assert invkit("eval", tmp_path / "a", "--format", "json", "--out", tmp_path / "t.json")[:2] == (0, "")
    assert json.loads((tmp_path / "t.json").read_text()) == json.loads((tmp_path / "a/eval/table.json").read_text())
    assert invkit("eval", tmp_path / "a", "--format", "md")[1].startswith("| ")


def test_a_run_is_zipped_moved_and_renamed(invkit, tmp_path, trained_run):
    expected = invkit("eval", trained_run, "--format", "json")
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", trained_run)
    folder = tmp_path / "elsewhere" / "another name"
    shutil.unpack_archive(packed, folder)
    assert invkit("eval", folder, "--format", "json") == expected
    again = invkit("run", folder)  # finished: nothing is computed
    assert again[0] == 0 and "training is done" in again[2] and "up to date" in again[2]
    code, out, _ = invkit("eval", folder, "eval.images=2", "--format", "json", "--device", "cpu")
    assert code == 0 and json.loads(out)["images"] == 2


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
    assert not missing(err.splitlines()[-1], folder, "--plugin top.py")
    code, out, _ = invkit("eval", folder, "--plugin", plugin, "eval.images=2", "--format", "json", "--device", "cpu")
    assert (code, {row["degradation"] for row in json.loads(out)["rows"]}) == (0, {"top"})
    code, _, err = invkit("eval", folder, "sead=1", "--plugin", plugin)
    assert (code, "--plugin" in err) == (2, False)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("degradation={name: sparse-center, n: 2000}", ("sparse-center", "16x16", 2000)),
        ("degradation={name: sparse-random, sensors: 64}", ("sparse-random", "16x16", "64x64")),
        ("eval.grids=[16, 8]", ("sparse-center", "8x8", 200)),
        (
            "degradation={name: mixture, of: [sparse-random, {name: sparse-center, n: 2000}]}",
            ("mixture", "16x16", 2000),
        ),
    ],
)
def test_settings_that_do_not_fit_a_grid_are_told_before_anything_is_done(invkit, write, tmp_path, override, said):
    recipe = write(TINY.replace("{name: sparse-random}", "{name: sparse-center, n: 200}"))
    code, _, err = invkit("run", recipe, override, "--out", tmp_path / "run")
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith("error: degradation: ") and not missing(err, *said), err
    assert not (tmp_path / "run").exists()


def test_complex_values_are_refused_in_one_line(invkit, write, tmp_path):
    plugin = write(
        "from invkit.api import Degradation, LinearOperator, hookimpl\nimport torch\n"
        "class Fourier(Degradation):\n    def sample(self, keys, grid):\n"
        "        class Transform:\n            forward = staticmethod(torch.fft.fft2)\n"
        "        return Transform()\n"
        "@hookimpl\ndef invkit_degradations():\n    return {'fourier': Fourier}\n",
        "fourier.py",
    )
    recipe = write(TINY.replace("{name: sparse-random}", "fourier"))
    code, _, err = invkit("run", recipe, "--out", tmp_path / "run", "--plugin", plugin)
    assert (code, err.count("\n")) == (2, 1), err
    assert not missing(err, "fourier", "complex", "torch.view_as_real")


def test_a_run_folder_that_cannot_be(invkit, write, tmp_path):
    file = write("", "file")
    code, out, err = invkit("run", write(TINY), "--out", file / "run")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {file}: File exists")


def test_a_profile_is_the_only_thing_printed(write):
    done = shell("run", write(TINY, "tiny.yaml"), "--profile", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "") and "images/s" in done.stdout
