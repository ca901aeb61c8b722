"""A package with an operator that is not linear, a noise model, a sampler and a prior, of the code that the docs show."""

import json
import re

import pytest
from support import DOCS

HOOKS, TUTORIAL = (DOCS / "reference/hooks.md", DOCS / "tutorials/write_a_plugin.md")
PARTS = {"exposure": TUTORIAL, "cauchy": TUTORIAL, "euler": HOOKS, "shrinkage": HOOKS}
RECIPE = """\
data: {name: fields, train_size: 24, test_size: 4}
degradation: exposure
noise: {name: cauchy, scale: 0.02}
model: {name: fno-unet, channels: 8, mult: [1], blocks: 1, modes: 2, embedding: 8}
train: {steps: 2, batch: 4, grids: [8], evaluate_every: 2, evaluate_images: 2}
sample: {steps: 2, method: euler}
eval:
  images: 4
  samples: 3
  methods: [model, gaussian, {name: dps, prior: {name: shrinkage, variance: 0.2}, calls: 4, check_prior: false}, pinv]
  metrics: [psnr, crps]
log: {tensorboard: false}
"""


def example(name):
    blocks = re.findall(r"```python\n(.*?)```", PARTS[name].read_text("utf-8"), re.S)
    return next(text for text in blocks if f'return {{"{name}":' in text)


@pytest.mark.slow
def test_it_is_found_by_its_entry_points_conforms_and_stands_in_one_table(invkit, write, distribution, tmp_path):
    modules = {f"foreign_{name}.py": example(name) for name in PARTS}
    points = "\n".join(f"{name} = foreign_{name}" for name in PARTS)
    distribution("foreign-physics", modules, f"[invkit]\n{points}\n")
    for name in PARTS:
        code, out, err = invkit("plugins", "check", name, *(["--draws", "2"] if name == "exposure" else []))
        assert (code, err) == (0, "") and "ok" in out, (name, out, err)
    code, _, err = invkit("run", write(RECIPE), "--out", tmp_path / "run", "--device", "cpu")
    assert code == 0, err
    table = json.loads((tmp_path / "run/eval/table.json").read_text("utf-8"))
    found = {(row["method"], row["readout"]): row["metrics"]["psnr"] for row in table["rows"]}
    assert found["dps", "sample"]["value"] is not None and found["model", "sample"]["value"] is not None
    assert found["pinv", "point"]["value"] is None and "linear" in found["pinv", "point"]["reason"]
    record = json.loads((tmp_path / "run/record.json").read_text("utf-8"))
    kinds = {"degradation exposure", "noise cauchy", "prior shrinkage", "sampler euler"}
    assert record["plugins"].keys() == kinds
