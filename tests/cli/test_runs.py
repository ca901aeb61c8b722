import json
import shutil
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_runs_are_listed_with_task_state_and_figures(invkit, trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "runs" / "done")
    shutil.copytree(trained_run, tmp_path / "runs" / "many" / "seed-4")
    shutil.rmtree(tmp_path / "runs" / "many" / "seed-4" / "checkpoints")
    shutil.rmtree(tmp_path / "runs" / "many" / "seed-4" / "eval")
    (tmp_path / "runs" / "bad").mkdir()
    (tmp_path / "runs" / "bad" / "resolved.yaml").write_text("- nothing")
    code, out, _ = invkit("runs", tmp_path / "runs", "--json")
    bad, done, seed = json.loads(out)["runs"]
    rows = json.loads((trained_run / "eval" / "table.json").read_text())["rows"]
    best = max(row["metrics"]["psnr"]["value"] for row in rows if row["readout"] != "sample")
    assert code == 0 and done["psnr"] == best
    assert (done["run"], done["task"], done["state"]) == ("done", "sparse-random", "evaluated")
    assert (seed["run"], seed["state"], seed["crps"]) == ("many/seed-4", "step 0 of 6", None)
    assert "resolved recipe" in bad["state"]
    code, out, _ = invkit("runs", tmp_path / "runs")
    assert f"{best:.2f}" in out and max(map(len, out.splitlines())) <= 80
    code, _, err = invkit("runs", tmp_path / "none")
    assert code == 3 and "`invkit run RECIPE`" in err


def test_the_version_to_cite_is_that_of_the_package():
    version = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"]
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text("utf-8")
