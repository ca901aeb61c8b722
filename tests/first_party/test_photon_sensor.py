"""Photon counts and sensors: forward models by hand, likelihoods of SciPy, rows of the table."""

import io
import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from invkit_photon import LowLight
from invkit_sensor import Converter, Jpeg, Saturation
from invkit_sensor.jpeg import steps
from PIL import Image
from scipy import stats
from support.runs import TINY

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.data.photos import Photos
from invkit.physics.noise.quantised import Uniform

GRID = Grid(1, 4, 1)
X = torch.tensor([[[[-1.2, -0.5, 0.0, 1.0]]]], dtype=torch.float64)


def one(degradation):
    return degradation.sample(Keys.of(0, "p", [0]), GRID)


def test_light_is_a_power_of_the_values():
    y = one(LowLight(gamma=2.0)).forward(X)
    torch.testing.assert_close(y.flatten(), torch.tensor([-1.0, 2 * 0.25**2 - 1, -0.5, 1.0], dtype=torch.float64))
    back = one(LowLight(gamma=2.0)).initial(y).flatten()
    torch.testing.assert_close(back[1:], X.flatten()[1:])
    assert -1 <= float(back[0]) < -0.97


def test_a_long_exposure_saturates():
    operator = one(Saturation(exposure=1.5))
    torch.testing.assert_close(
        operator.forward(X).flatten(), torch.tensor([-1.0, -0.25, 0.5, 1.0], dtype=torch.float64)
    )
    torch.testing.assert_close(operator.initial(operator.forward(X)).flatten()[1:3], X.flatten()[1:3])
    many = Saturation(exposure=(1.0, 3.0)).sample(Keys.of(0, "p", range(400)), GRID).exposure
    assert 1 <= float(many.min()) < 1.05 and 2.95 < float(many.max()) <= 3


@pytest.mark.parametrize("clean", [-1.1, -0.3, 0.62, 1.4])
def test_a_converter_has_the_likelihoods_of_its_cells(clean):
    law, values = Converter(bits=2, read=0.2), torch.tensor([-1, -1 / 3, 1 / 3, 1], dtype=torch.float64)
    edges = [-math.inf, -2 / 3, 0, 2 / 3, math.inf]
    expected = [stats.norm.cdf(b, clean, 0.2) - stats.norm.cdf(a, clean, 0.2) for a, b in pairwise(edges)]
    found = law.log_likelihood(values, torch.full_like(values, clean)).exp()
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-8, atol=1e-12)
    y = law.sample(Keys.of(0, "c", range(4000)), torch.full((4000, 1), clean, dtype=torch.float64))
    shares = torch.stack([((y - value).abs() < 1e-6).double().mean() for value in values])
    assert float((shares - found).abs().max()) < 4.5 * 0.5 / 4000**0.5


@pytest.mark.parametrize("quality", [10, 75])
@pytest.mark.parametrize("channels", [1, 3])
def test_rounded_coefficients_are_decoded_as_a_file_of_pillow(quality, channels):
    grid = Grid(16, 24, channels)
    x = Photos().open("test", Grid(16, 24), 0)[[0]].double()[:, :channels]
    pixels = ((x[0] + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).squeeze(2).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=0)
    with Image.open(file) as opened:
        theirs, tables = np.asarray(opened, float).reshape(16, 24, channels), opened.quantization
    for chroma, table in tables.items():
        assert list(table) == steps(quality, bool(chroma)).flatten().tolist()
    operator = Jpeg(quality=quality).sample(Keys.of(0, "j", [0]), grid)
    law = Uniform(step=1.0, sigma=0.0)
    exact = torch.from_numpy(pixels.reshape(theirs.shape)).double().permute(2, 0, 1)[None]
    y = law.sample(
        Keys.of(0, "j", [0]), operator.forward((exact - 128) / 127.5)
    )  # a file has zero at 128, not at 127.5
    ours = (operator.pinv(y) * 127.5 + 128).clamp(0, 255)[0].permute(1, 2, 0).numpy()
    # a file also rounds luma and colour differences before the transform
    assert np.abs(ours - theirs).mean() < 0.3 * np.abs(theirs - pixels.reshape(theirs.shape).astype(float)).mean()


@pytest.mark.parametrize(
    ("degradation", "noise"),
    [("{name: low-light}", "{name: poisson, peak: 20}"), ("{name: saturation}", "{name: converter, bits: 3}")],
)
def test_a_run_has_rows_of_what_can_and_reasons_of_what_cannot(degradation, noise, invkit, write, tmp_path):
    methods = "[pinv, gaussian, model, {name: daps, prior: gaussian}, {name: ddrm, prior: gaussian}]"
    recipe = write(TINY.replace("{name: sparse-random}", degradation) + f"noise: {noise}\n")
    code, _, err = invkit(
        "run", recipe, f"eval.methods={methods}", "--smoke", "--device", "cpu", "--out", tmp_path / "run"
    )
    assert code == 0, err
    table = json.loads((tmp_path / "run" / "eval" / "table.json").read_text("utf-8"))
    rows = {(row["method"], row["readout"]): row["metrics"] for row in table["rows"]}
    for name in ("pinv", "ddrm"):
        (metrics,) = (found for (method, _), found in rows.items() if method == name)
        assert f"{name} requires a linear operator" in metrics["psnr"]["reason"]
    for name in ("gaussian", "model", "daps"):
        assert rows[name, "sample"]["crps"]["value"] > 0
    assert table["protocol"]["noise"]["law"] in ("Poisson", "Converter")
    assert "noise" in (tmp_path / "run" / "report.html").read_text("utf-8")
