"""Reconstructors and metrics that a plugin file provides, the examples of the page on hooks, through a whole run."""

import csv
import json
import re

import pytest
from support import DOCS
from support.messages import missing

HOOKS = (DOCS / "reference/hooks.md").read_text("utf-8")
EXAMPLES = [text for text in re.findall(r"```python\n(.*?)```", HOOKS, re.S) if "FlatGrey" in text or "Bias" in text]
RECIPE = """\
data: {name: fields, train_size: 24, test_size: 6}
degradation: {name: sparse-random, fraction: 0.3}
model: {name: fno-unet, channels: 8, mult: [1], blocks: 1, modes: 2, embedding: 8}
train: {steps: 2, batch: 4, grids: [8], evaluate_every: 2, evaluate_images: 2}
sample: {steps: 2}
eval:
  {images: 6, samples: 3, methods: [flat-grey, gaussian], metrics: [brightness_bias, psnr, crps]}
log: {tensorboard: false}
"""


@pytest.fixture
def plugin(write):
    assert len(EXAMPLES) == 2
    return write("\n".join(EXAMPLES), "rows.py")


def test_a_run_with_a_reconstructor_and_a_metric_of_a_file(invkit, write, plugin, tmp_path):
    recipe, run = write(RECIPE), tmp_path / "run"
    code, out, err = invkit("run", recipe, "--out", run, "--plugin", plugin, "--device", "cpu")
    assert (code, "flat-grey point" in out) == (0, True), err
    table = json.loads((run / "eval/table.json").read_text("utf-8"))
    rows = {(row["method"], row["readout"]): row for row in table["rows"]}
    assert [*rows] == [("flat-grey", "point"), ("gaussian", "mean"), ("gaussian", "sample")]
    bias = [row["metrics"]["brightness_bias"] for row in rows.values()]
    assert all(cell["lo"] < cell["value"] < cell["hi"] for cell in bias)
    assert table["protocol"]["better"] == {"brightness_bias": None, "psnr": "higher", "crps": "lower"}
    pairs = [(entry["method"], entry["against"], entry["metric"]) for entry in table["differences"]]
    assert pairs == [("flat-grey", "gaussian mean", name) for name in ("brightness_bias", "psnr", "crps")]
    per_image = list(csv.DictReader((run / "eval/per_image.csv").open()))
    each = [float(line["brightness_bias"]) for line in per_image if line["method"] == "flat-grey"]
    assert sum(each) / 6 == pytest.approx(bias[0]["value"], rel=1e-5)
    record = json.loads((run / "record.json").read_text("utf-8"))
    assert {"method flat-grey", "metric brightness_bias", "degradation sparse-random"} == record["plugins"].keys()
    assert list(record["plugin_files"]) == ["rows.py"]
    assert invkit("eval", run, "--plugin", plugin, "--format", "json")[1] == json.dumps(table, indent=1) + "\n"
    code, _, err = invkit("eval", run)
    assert code == 2
    assert not missing(err, "method 'flat-grey'", "metric 'brightness_bias'")


def test_they_are_listed_described_and_suggested(invkit, write, plugin):
    rows = json.loads(invkit("plugins", "list", "--json", "--plugin", plugin)[1])["plugins"]
    found = {(row["kind"], row["name"]): row for row in rows}
    assert found["method", "flat-grey"]["summary"] == "One grey value for the whole image."
    assert (found["metric", "brightness_bias"]["plugin"], found["metric", "psnr"]["plugin"]) == ("rows", "core")
    assert invkit("plugins", "show", "flat-grey", "--plugin", plugin)[1].startswith("method flat-grey, from rows (")
    schema = json.loads(invkit("validate", "--schema", "--plugin", plugin)[1])
    for kind, name in (("method", "flat-grey"), ("metric", "brightness_bias")):
        assert any(one.get("properties", {}).get("name") == {"const": name} for one in schema["$defs"][kind]["oneOf"])
    assert "flat-grey" in schema["$defs"]["Eval"]["properties"]["paired_to"]["enum"]
    pair = RECIPE.replace("samples: 3", "samples: 3, paired_to: flat-grey")
    assert invkit("validate", write(pair), "--plugin", plugin)[0] == 0
    typos = write(pair.replace("[flat-grey", "[flat-gray").replace("_bias", "_bais").replace(": flat-", ": flit-"))
    code, _, err = invkit("validate", typos, "--plugin", plugin)
    assert code == 2
    assert not missing(err, "eval.methods.0", "'flat-gray'", "'flat-grey'", "eval.paired_to", "'brightness_bias'")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("FlatGreyMethod}", "FlatGrey}", ("'flat-grey'", "Method")),
        ("def components", "def component", ("'brightness_bias'", "BrightnessBias", "components")),
        ("brightness_bias", "psnr", ("metric 'psnr'", "core")),
        ('"flat-grey", ("point",)', '"flat", ("point",)', ("method 'flat-grey'", "'flat'")),
    ],
)
def test_a_broken_one_is_told_with_its_name(invkit, write, tmp_path, old, new, said):
    source = "\n".join(EXAMPLES)
    assert old in source
    file = write(source.replace(old, new), "rows.py")
    recipe = write(RECIPE.replace(old, new) if "psnr" not in new else RECIPE)
    code, _, err = invkit("run", recipe, "--out", tmp_path / "run", "--plugin", file, "--device", "cpu")
    assert code == 4 and not missing(err, *said)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("bias = (estimate - truth).mean", "bias = estimate.no_such_thing(truth).mean",
         ("the metric 'brightness_bias', point, fails", "AttributeError", "no_such_thing", "line 47 of", "rows.py")),
        ("torch.ones_like(bias)}", "bias.mean()}", ("the metric 'brightness_bias'", "'count'", "shape ()", "2 images")),
        ('"count": torch', '"number": torch', ("the metric 'brightness_bias'", "KeyError", "count")),
        ("column.square()", "column.squared()", ("the method 'flat-grey', point, fails", "AttributeError", "line 18 of")),
        ("return grey.view(-1, 1, 1, 1) * ones", "return grey.view(-1, 1, 1, 1)",
         ("the method 'flat-grey', point,", "(2, 1, 1, 1)", "(2, 3, 8, 8)")),
        ("return FlatGrey()", "return FlatGray()", ("the method 'flat-grey' fails", "NameError", "FlatGray")),
        ('self, sources: Sources) -> Reconstructor:', 'self) -> Reconstructor:', ("the method 'flat-grey' fails", "TypeError")),
    ],
)  # fmt: skip
def test_its_mistake_surfaces_with_its_name_before_the_training(invkit, write, tmp_path, old, new, said):
    source = "\n".join(EXAMPLES)
    assert old in source
    arguments = ("--out", tmp_path / "run", "--device", "cpu", "--plugin", write(source.replace(old, new), "rows.py"))
    code, _, err = invkit("run", write(RECIPE), *arguments)
    assert code == 4 and not missing(err.splitlines()[-1], *said)
    assert "step 1" not in err and "Traceback" not in err
    invkit("run", write(RECIPE), *arguments[:4], "--plugin", write(source, "good.py"))
    code, _, err = invkit(
        "eval", tmp_path / "run", "eval.images=5", "--plugin", write(source.replace(old, new), "rows.py")
    )
    assert code == 4 and "Traceback" not in err


def test_a_method_that_lacks_something_is_told_before_the_training(invkit, write, tmp_path):
    recipe = write(RECIPE.replace("[flat-grey, gaussian]", "[gaussian, oracle]").replace("brightness_bias, ", ""))
    code, _, err = invkit("run", recipe, "data.name=photos", "--out", tmp_path / "run", "--device", "cpu")
    assert code == 2 and "oracle" in err and "step 1" not in err
    code, _, err = invkit("run", recipe, "--out", tmp_path / "run", "--device", "cpu")
    assert code == 0, err


def test_a_default_that_lost_its_name_is_told_before_anything_is_done(invkit, write):
    file = write(EXAMPLES[1].replace("brightness_bias", "psnr"), "rows.py")
    recipe = write("data: photos\ndegradation: sparse-random\n")
    assert invkit("validate", recipe)[0] == 0
    code, _, err = invkit("validate", recipe, "--plugin", file)
    assert (code, err.count("\n")) == (4, 1)
    assert not missing(err, "metric 'psnr'", "core", "rows")
