"""`invkit run` and `invkit eval`."""

import hashlib
import json

from support.runs import TINY


def test_a_run_that_cannot_be_evaluated(invkit, tmp_path):
    code, out, err = invkit("eval", tmp_path)
    assert (code, out) == (3, "")
    assert "is no run folder" in err
    assert invkit("eval", "eval.images=3")[0] == 2


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


def test_a_run_folder_that_cannot_be(invkit, write, tmp_path):
    file = write("", "file")
    code, out, err = invkit("run", write(TINY), "--out", file / "run")
    assert (code, out) == (2, "")
    assert err == f"error: {file}: File exists; use another path\n"
