"""FID and KID over a stand-in network, against torchmetrics, scipy and loops; and how a table holds what has no interval."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from support.evaluations import Draws, Exact, Flat, protocol_of
from support.messages import missing, raises
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_kernel

from invkit.core.errors import Unavailable
from invkit.core.keys import Keys
from invkit.evaluation.evaluator import evaluate_rows
from invkit.evaluation.metrics import fid as distance
from invkit.evaluation.metrics.base import Outcome
from invkit.evaluation.metrics.fid import Fid, Kid, discrepancy, frechet
from invkit.evaluation.metrics.pretrained import has_inception
from invkit.evaluation.results import MethodScores
from invkit.evaluation.settings import Eval
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask

COUNT, SIDE = 60, 8


class Network(nn.Module):
    """Bytes (B, 3, H, W) to six features."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.uint8
        x = x.double() / 255
        return torch.cat([x.mean((2, 3)), (x[..., 1:] - x[..., :-1]).abs().mean((2, 3))], 1)


@pytest.fixture(autouse=True)
def network(monkeypatch, tmp_path):
    monkeypatch.setattr(distance, "has_inception", lambda: True)
    monkeypatch.setattr(distance, "inception_network", lambda file, device: Network())
    (tmp_path / "w.pth").touch()
    monkeypatch.chdir(tmp_path)


def outcome(size: float = 0.2, channels: int = 3) -> Outcome:
    keys = Keys.of(0, "sets", range(COUNT))
    truth = keys.uniform("truth", channels, SIDE, SIDE) * 2 - 1
    mask = Mask(keys.uniform("mask", 1, SIDE, SIDE) < 0.1)
    estimate = truth + size * keys.normal("error", channels, SIDE, SIDE)
    return Outcome(truth, Measurement(mask, mask.forward(truth)), "mean", estimate)


def features(o: Outcome, metric: Fid | Kid) -> dict[str, np.ndarray]:
    return {name: x.numpy() for name, x in metric.components(o).items()}


def test_fid_is_that_of_torchmetrics_and_of_the_formula(monkeypatch):
    monkeypatch.setattr(distance, "LEAST", COUNT)
    o, fid = outcome(), Fid(weights="w.pth")
    found = fid.of_set(features(o, fid))
    reference = FrechetInceptionDistance(feature=Network()).set_dtype(torch.float64)
    for real, x in zip((False, True), o.pictures, strict=True):
        reference.update((x * 255).round().byte(), real=real)
    assert found == pytest.approx(float(reference.compute()), rel=1e-6)
    x, y = features(o, fid).values()
    first, second = np.cov(x.T), np.cov(y.T)
    root = sqrtm(first @ second).real
    assert found == pytest.approx(
        np.square(x.mean(0) - y.mean(0)).sum() + np.trace(first + second - 2 * root), rel=1e-6
    )
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)


def test_fid_of_few_pictures_has_no_value():
    fid = Fid(weights="w.pth")
    with raises(Unavailable, 60, "10,000"):
        fid.of_set(features(outcome(), fid))


def test_kid_is_the_sum_over_pairs_of_different_pictures(monkeypatch):
    monkeypatch.setattr(distance, "BLOCK", 7)
    kid = Kid(weights="w.pth")
    x, y = features(outcome(), kid).values()
    k = [poly_kernel(*(torch.from_numpy(v) for v in pair)).numpy() for pair in ((x, x), (y, y), (x, y), (y, x))]
    pairs = [k[0][i, j] + k[1][i, j] - k[2][i, j] - k[3][i, j] for i in range(COUNT) for j in range(COUNT) if i != j]
    assert kid.of_set({"estimate": x, "truth": y}) == pytest.approx(np.mean(pairs), rel=1e-9)


def test_kid_of_one_law_is_nothing_on_average_though_estimates_belong_to_truths():
    """Pairs of equal place would make it too small: they are alike."""
    found, mutant = [], []
    for seed in range(300):
        z = Keys.of(seed, "kid", range(20)).normal("z", 8).double().numpy()
        x, y = z[:, :4], 0.8 * z[:, :4] + 0.6 * z[:, 4:]  # of one law, correlated
        found.append(discrepancy(x, y))
        mutant.append(found[-1] - 2 * ((x * y).sum(1) / 4 + 1).__pow__(3).mean() / 20 + 2 * _cross(x, y) / 20)
    error = np.std(found) / np.sqrt(300)
    assert abs(np.mean(found)) < 3 * error
    assert np.mean(mutant) < -3 * error


def _cross(x: np.ndarray, y: np.ndarray) -> float:
    """Mean kernel of pairs of different places."""
    kernel = (x @ y.T / 4 + 1) ** 3
    return float((kernel.sum() - kernel.trace()) / (20 * 19))


def test_what_is_missing_is_said(monkeypatch):
    with raises(Unavailable, 3):
        Kid().components(outcome(channels=1))
    with raises(Unavailable, "weights-inception-2015-12-05-6726825d.pth", "weights", "fetch: true"):
        Kid().components(outcome())
    monkeypatch.setattr(distance, "has_inception", lambda: False)
    with raises(Unavailable, "pip install torch-fidelity"):
        Kid().components(outcome())
    with raises(Unavailable, 2):
        Kid().of_set({"estimate": np.ones((1, 3)), "truth": np.ones((1, 3))})
    assert has_inception() in (True, False)


def test_a_table_holds_it_without_an_interval():
    images = Draws(count=10)
    metrics = {"kid": Kid(weights="w.pth"), "fid": Fid(weights="w.pth")}
    protocol = protocol_of(Eval(images=10, samples=2, batch=4), metrics=metrics)
    result = evaluate_rows([Flat(), Exact()], {images.grid: images}, protocol)
    cells = [row["metrics"] for row in result.table["rows"]]
    assert not any(missing(cell["fid"]["reason"], 10, "10,000") for cell in cells)
    assert all((cell["kid"]["lo"], cell["kid"]["hi"]) == (None, None) for cell in cells)
    point, mean, sample = (cell["kid"]["value"] for cell in cells)
    assert point > mean > abs(sample)
    (difference,) = [d for d in result.table["differences"] if d["method"] == "flat"]
    assert difference["value"] == pytest.approx(point - mean, rel=1e-4)
    assert (difference["metric"], difference["lo"], difference["hi"]) == ("kid", None, None)
    assert all((line["kid"], line["fid"]) == ("", "") for line in result.per_image)
    json.dumps(result.table, allow_nan=False)


def test_what_another_process_gathered_is_the_same():
    o, metrics = outcome(), {"kid": Kid(weights="w.pth")}
    whole, parts = MethodScores(Flat(), "point"), [MethodScores(Flat(), "point") for _ in range(3)]
    whole.add(o, metrics)
    for part, some in zip(parts[:2], (slice(0, 25), slice(25, COUNT)), strict=True):
        part.add(replace(o, truth=o.truth[some], measurement=o.measurement[some], estimate=o.estimate[some]), metrics)
        parts[2].extend(json.loads(json.dumps(part.facts())), part.tensors())
    for name, values in whole.values("kid").items():
        np.testing.assert_array_equal(parts[2].values("kid")[name], values)
