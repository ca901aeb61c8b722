import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image
from support.evaluations import DEVIATION, Draws, Exact, Flat, table_of

from invkit.evaluation.cases import Estimates
from invkit.evaluation.report.gallery import gallery

SHOWN = (1, 0, 19, 40)


@pytest.fixture(scope="module")
def result():
    return table_of(Flat(), Exact("model", bias=0.1), Exact(), images=20, samples=5, batch=3, show=SHOWN)


def test_best_median_and_worst_are_those_of_the_last_row_that_samples(result):
    shown = result.examples["16x16"]()
    values = [row["crps"] for row in result.per_image if (row["method"], row["readout"]) == ("gaussian", "sample")]
    order = np.argsort(values)
    found = {case.why: case.image for case in shown.cases}
    assert (found["best"], found["median"], found["worst"]) == (order[0], order[10], order[-1])
    assert "crps of gaussian (sample)" in shown.rule and "of 20" in shown.rule
    images = [case.image for case in shown.cases]
    assert len(set(images)) == len(images) and set(SHOWN[:3]) <= set(images) and 40 not in images
    assert f"CRPS {values[images[0]]:.3f}" in shown.cases[0].scores["gaussian"]


def test_what_is_shown_are_the_results_of_the_evaluation_also_beyond_the_images_that_it_kept(result):
    shown = result.examples["16x16"]()
    images = [case.image for case in shown.cases]
    assert max(images) == 19 and min(images) == 0  # of the kept ones, and of others
    torch.testing.assert_close(shown.truth, Draws()[images])
    observed = shown.measurement.observed.expand_as(shown.truth)
    assert list(shown.estimates) == ["flat", "model", "gaussian"]
    for name, one in shown.estimates.items():
        for picture in (one.mean, one.sample) if one.sample is not None else (one.mean,):
            assert torch.equal(picture[observed], shown.truth[observed])
            assert not (picture == shown.truth)[~observed].any()
        assert (one.std is None) == (name == "flat")
    torch.testing.assert_close(shown.estimates["model"].mean[~observed], torch.full_like(shown.truth, 0.1)[~observed])
    spread = shown.estimates["gaussian"].std[~observed].double().square().mean().sqrt()
    assert float(spread) == pytest.approx(DEVIATION, rel=0.05)
    row = next(
        row for row in result.per_image if (row["method"], row["readout"], row["image"]) == ("gaussian", "mean", 19)
    )
    error = (shown.estimates["gaussian"].mean - shown.truth)[images.index(19)]
    assert row["psnr"] == pytest.approx(-10 * np.log10(float((error / 2).double().square().mean())), abs=0.02)


def test_error_and_deviation_have_one_scale(result):
    """An error of .05 and a deviation of .15, on [0, 1], are drawn in the colours of these values relative to the same top."""
    shown = result.examples["16x16"]()
    known = {"model": Estimates(shown.truth + 0.1, None, torch.full_like(shown.truth, 0.3))}
    found = gallery(replace(shown, estimates=known))
    error, deviation = found["cases"][0]["columns"][1][2][2:]
    pixels = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(p.address.partition(",")[2])))) for p in (error, deviation)
    ]
    hidden = ~shown.measurement.observed[0, 0].numpy()
    assert float(found["top"]) == pytest.approx(0.15)
    for value, picture in zip((0.05, 0.15), pixels, strict=True):
        assert (
            np.abs(picture[hidden].astype(int) - np.array(colormaps["magma"](value / 0.15, bytes=True))[:3]).max() <= 3
        )
    assert (pixels[1][~hidden] == np.array(colormaps["magma"](0.0, bytes=True))[:3]).all()


def test_two_images_are_shown_without_a_ranking():
    shown = table_of(Flat(), Exact(), images=2, samples=3).examples["16x16"]()
    assert [case.image for case in shown.cases] == [0, 1] and shown.rule == ""
