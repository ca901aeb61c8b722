"""What becomes of one input after the other; the model is untrained, since none of this depends on what it knows."""

import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.messages import missing, raises
from support.models import build

from invkit.core.errors import DataError, NonFiniteError, RecipeError
from invkit.core.grid import Grid
from invkit.experiment.inference.image_files import find_inputs
from invkit.experiment.inference.job import Options, reconstruct, scores
from invkit.experiment.trained_model import Trained
from invkit.physics.points import binned, measure_points
from invkit.recipe.recipe import load_recipe

HEAD = "data: photos\nsample: {method: heun, steps: 2}\ntrain: {grids: [16]}\n"


@pytest.fixture
def trained(write):
    """Loads what was trained for a degradation."""

    def trained(degradation: str = "{name: sparse-random, fraction: 0.2}", head: str = HEAD) -> Trained:
        recipe = load_recipe(write(f"{head}degradation: {degradation}\n"))
        return Trained(recipe, build(perturb=0.02), torch.device("cpu"), 5)

    return trained


@pytest.fixture
def go(trained, tmp_path):
    """Reconstructs inputs; what is said of them, and what was said aloud."""

    def go(*inputs, model=None, out="out", **options):
        heard: list[str] = []
        found = list(
            reconstruct(
                model or trained(), "run", list(map(Path, inputs)), tmp_path / out,
                replace(Options(samples=2), **options), heard.append,
            )
        )  # fmt: skip
        return found, heard

    return go


@pytest.fixture
def picture(tmp_path):
    def picture(name="x.png", shape=(18, 13), seed=0):
        rng = np.random.default_rng(seed)
        ramp = np.indices(shape).sum(0)[..., None] * np.array([4, 6, 3])
        path = tmp_path / name
        Image.fromarray((ramp % 200 + rng.integers(0, 50, (*shape, 3))).astype(np.uint8)).save(path)
        return path

    return picture


def arrays(tmp_path, name="x", out="out"):
    with np.load(tmp_path / out / f"{name}.npz", allow_pickle=False) as data:
        return dict(data)


def units(path):
    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1) / 127.5 - 1


def test_a_picture_that_the_recipe_degrades(go, picture, tmp_path):
    (said,), heard = go(picture(), samples=19)
    assert (said["grid"], said["tiles"], said["degraded_by"], said["interval"]) == ([18, 13], None, "sparse-random", 90)
    assert said["observed"] == round(0.2 * 18 * 13)
    assert not missing(heard[0], "x.png", "sparse-random", "--mask FILE") and not missing(heard[-1], "psnr", "crps")
    a, truth = arrays(tmp_path), units(picture())
    assert {k: v.shape for k, v in a.items()} == {
        "mean": (3, 18, 13), "samples": (19, 3, 18, 13), "deviation": (3, 18, 13), "lower": (3, 18, 13), "upper": (3, 18, 13),
        "y": (3, 18, 13), "observed": (1, 18, 13),
    }  # fmt: skip
    assert all(v.dtype == (bool if k == "observed" else np.float32) for k, v in a.items())
    seen = np.broadcast_to(a["observed"], truth.shape)
    np.testing.assert_allclose(a["mean"][seen], truth[seen], atol=1e-6)
    assert (a["deviation"][seen] == 0).all() and (a["deviation"][~seen] > 0).all()
    np.testing.assert_allclose(a["deviation"][~seen], a["samples"].std(0, ddof=1)[~seen], rtol=1e-4)
    np.testing.assert_array_equal(a["lower"], a["samples"].min(0))  # of 19 samples the extremes are the 90 % interval
    np.testing.assert_array_equal(a["upper"], a["samples"].max(0))
    assert (a["y"][~seen] == 0).all()
    error = ((a["mean"].clip(-1, 1) - truth) / 2).astype(np.float64)
    assert said["scores"]["psnr"] == pytest.approx(-10 * np.log10(np.square(error).mean()), abs=1e-3)
    folder = tmp_path / "out" / "x"
    names = ["deviation", "lower", "mean", "measured", *(f"sample_{k}" for k in range(1, 5)), "sheet", "upper"]
    assert sorted(path.stem for path in folder.iterdir()) == names
    assert {f"x/{name}.png" for name in names} == set(said["pictures"])
    np.testing.assert_allclose(units(folder / "mean.png"), a["mean"].clip(-1, 1), atol=1 / 127)
    np.testing.assert_allclose(units(folder / "sample_2.png"), a["samples"][1].clip(-1, 1), atol=1 / 127)
    hidden = np.asarray(Image.open(folder / "measured.png"))[..., 3] == 0
    np.testing.assert_array_equal(hidden, ~a["observed"][0])
    top = np.sqrt(np.square(a["deviation"] / 2).mean(0)).max()
    assert said["deviation_scale"] == pytest.approx(top, rel=1e-5)
    record = json.loads((tmp_path / "out" / "reconstruct.json").read_text())
    assert record == {
        "schema": "invkit.reconstruct/1", "run": "run", "step": 5, "samples": 19, "seed": 0, "sampler": "heun",
        "steps": 2, "outputs": [said],
    }  # fmt: skip


def test_a_picture_that_is_degraded_already(go, picture, tmp_path):
    seen = np.random.default_rng(3).random((18, 13)) < 0.3
    Image.fromarray(np.uint8(255) * seen).save(tmp_path / "mask.png")
    ((said,), heard), truth = go(picture(), mask=tmp_path / "mask.png"), units(picture())
    a = arrays(tmp_path)
    np.testing.assert_array_equal(a["observed"][0], seen)
    np.testing.assert_allclose(a["y"], truth * seen, atol=1e-6)
    assert said["degraded_by"] is None and "scores" not in said and not any("--mask" in text for text in heard)
    # Nothing of what is hidden enters.
    pixels = np.asarray(Image.open(picture())).copy()
    pixels[~seen] = 7
    Image.fromarray(pixels).save(tmp_path / "hidden.png")
    go(tmp_path / "hidden.png", mask=tmp_path / "mask.png", out="again")
    np.testing.assert_array_equal(arrays(tmp_path, "hidden", "again")["mean"], a["mean"])


def test_a_masked_picture_on_a_coarser_grid(go, tmp_path):
    """Cells see what was seen in them: the mean of their observed pixels."""
    rng = np.random.default_rng(4)
    pixels, seen = rng.integers(0, 256, (32, 48, 3)).astype(np.uint8), rng.random((32, 48)) < 0.2
    Image.fromarray(pixels).save(tmp_path / "x.png")
    Image.fromarray(np.uint8(255) * seen).save(tmp_path / "mask.png")
    (said,), _ = go(tmp_path / "x.png", mask=tmp_path / "mask.png", grid="16")
    assert said["grid"] == [16, 24]
    a, cells = arrays(tmp_path), seen.reshape(16, 2, 24, 2)
    np.testing.assert_array_equal(a["observed"][0], cells.any((1, 3)))
    total = ((pixels.transpose(2, 0, 1) / 127.5 - 1) * seen).reshape(3, 16, 2, 24, 2).sum((2, 4))
    np.testing.assert_allclose(a["y"], total / np.maximum(cells.sum((1, 3)), 1), atol=1e-6)


def test_a_mask_beyond_what_is_solved_is_said_to_be(go, picture, monkeypatch):
    def warned(**options):
        return any("--grid N" in text for text in go(picture(), **options)[1])

    assert not warned(out="before")
    monkeypatch.setattr("invkit.physics.gaussian.kriging.DENSE_VALUES", 40)
    assert warned()
    assert not warned(tiles=True)


def test_points(go, trained, tmp_path, write):
    rng = np.random.default_rng(0)
    at, values = rng.random((30, 2)), rng.random((30, 3)) * 2 - 1
    np.savez(tmp_path / "p.npz", coordinates=at, values=(values + 1) * 127.5)
    rows = "".join(",".join(map(repr, map(float, row))) + "\n" for row in np.hstack([at, values]))
    go(write("x,y,r,g,b\n" + rows, "q.csv"))
    m = measure_points(torch.from_numpy(at), torch.from_numpy(values), Grid(16, 16))
    want = trained().mean(m)[0].numpy()
    a = arrays(tmp_path, "q")
    np.testing.assert_allclose(a["mean"], want, atol=1e-6)
    np.testing.assert_allclose(a["coordinates"], at, atol=1e-6)
    np.testing.assert_allclose(a["values"], values, atol=1e-6)
    (said,), _ = go(tmp_path / "p.npz", span=(0.0, 255.0), grid="20x31")
    assert (said["grid"], arrays(tmp_path, "p")["mean"].shape) == ([20, 31], (3, 20, 31))


def test_points_in_a_unit(go, trained, tmp_path, write):
    """Results are in the unit of the values, in the .npz and in a table; the scale of the picture is recorded."""
    rng = np.random.default_rng(0)
    at, values = rng.random((30, 2)), rng.random((30, 3)) * 2 - 1
    header = "x;y;low;mid;high\n"
    rows = "".join(
        ";".join(f"{x:.9f}".replace(".", ",") for x in row) + "\n" for row in np.hstack([at, 20 + 10 * values])
    )
    (said,), heard = go(write(header + rows, "c.csv"), span=(10.0, 30.0), samples=19)
    c = arrays(tmp_path, "c")
    assert said["range"] == [10.0, 30.0] and said["columns"] == ["low", "mid", "high"]
    assert any(not missing(text, "c.csv", "';'", "commas") for text in heard)
    (plain,), _ = go(write("x,y,r,g,b\n" + (header + rows).split("\n", 1)[1].replace(",", ".").replace(";", ","), "c.csv"),
                     span=(10.0, 30.0), samples=19, out="again")  # fmt: skip
    m = measure_points(at, values, Grid(16, 16))
    key = find_inputs([tmp_path / "c.csv"])[0].key
    posterior = trained().posterior(m, 19, ids=[key])
    lower, upper = posterior.interval(90)
    for name, want in (("mean", posterior.mean), ("lower", lower), ("upper", upper)):
        np.testing.assert_allclose(c[name], 20 + 10 * want[0], atol=1e-3)
    np.testing.assert_allclose(c["samples"], 20 + 10 * posterior.samples[:, 0], atol=1e-3)
    np.testing.assert_allclose(c["deviation"], 10 * posterior.deviation[0], atol=1e-3)
    np.testing.assert_allclose(c["values"], 20 + 10 * values, atol=1e-4)
    top = np.sqrt(np.square(c["deviation"]).mean(0)).max()
    assert said["deviation_scale"] == pytest.approx(top, rel=1e-4)
    table = np.genfromtxt(tmp_path / "out" / said["table"], delimiter=",", names=True)
    assert table.dtype.names[:4] == ("x", "y", "mean_low", "std_low") and table.dtype.names[-1] == "upper_high"
    assert (table["x"][1], table["y"][17]) == (1.5 / 16, 1.5 / 16) and len(table) == 256
    np.testing.assert_allclose(table["std_mid"], c["deviation"][1].ravel(), rtol=1e-5)
    np.testing.assert_allclose(table["lower_high"], c["lower"][2].ravel(), rtol=1e-5)
    assert plain["columns"] == ["r", "g", "b"] and plain["range"] == [10.0, 30.0]
    assert go(picture_of(tmp_path))[0][0]["range"] == [-1.0, 1.0]


def test_points_are_in_the_unit_of_the_recipe(go, trained, tmp_path):
    head = HEAD.replace("data: photos", f"data: {{name: images, root: {tmp_path}, range: [-10, 40]}}")
    np.savez(tmp_path / "p.npz", coordinates=[[0.2, 0.3], [0.6, 0.8]], values=np.full((2, 3), 20.0))
    (said,), _ = go(tmp_path / "p.npz", model=trained(head=head))
    assert said["range"] == [-10.0, 40.0]
    np.testing.assert_allclose(arrays(tmp_path, "p")["values"], 20, atol=1e-4)
    with raises(DataError, "p.npz", "(20, 20, 20)", "--range"):
        go(tmp_path / "p.npz", span=(-1.0, 0.5))


def picture_of(folder):
    Image.new("RGB", (18, 18), (90, 120, 30)).save(folder / "plain.png")
    return folder / "plain.png"


def test_points_on_a_rectangle(go, trained, tmp_path):
    """`--grid N` keeps the aspect ratio of the training, and points in half of the domain are reported."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "p.npz", coordinates=rng.random((30, 2)), values=rng.random((30, 3)))
    np.savez(tmp_path / "half.npz", coordinates=rng.random((30, 2)) * [1, 0.5], values=rng.random((30, 3)))
    wide = trained(head=HEAD.replace("[16]", "[[8, 16], [16, 32]]"))
    (said,), heard = go(tmp_path / "p.npz", model=wide)
    assert said["grid"] == [16, 32] and not any("width" in text for text in heard)
    assert go(tmp_path / "p.npz", model=wide, grid="24")[0][0]["grid"] == [24, 48]
    (said,), heard = go(tmp_path / "half.npz", model=wide, grid="24x24")
    assert said["grid"] == [24, 24]
    assert any(not missing(text, "half.npz", "width", "height") for text in heard)


def test_the_same_command_makes_the_same_bytes_whatever_is_beside(go, picture, tmp_path):
    x, y = picture(), picture("y.png", seed=1)
    go(x, y, out="a")
    go(x, y, out="b")
    go(y, out="c")
    files = {p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()}
    assert len(files) > 14
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    np.testing.assert_array_equal(arrays(tmp_path, "y", "a")["observed"], arrays(tmp_path, "y", "c")["observed"])
    np.testing.assert_allclose(arrays(tmp_path, "y", "a")["samples"], arrays(tmp_path, "y", "c")["samples"], atol=1e-4)
    assert (arrays(tmp_path, "x", "a")["observed"] != arrays(tmp_path, "y", "a")["observed"]).any()
    go(y, out="d", seed=1)
    assert (arrays(tmp_path, "y", "d")["observed"] != arrays(tmp_path, "y", "c")["observed"]).any()


def test_grids_and_tiles(go, trained, picture):
    large = picture(shape=(34, 45))
    assert go(large)[0][0]["tiles"] == 12
    assert go(large, tiles=False)[0][0]["tiles"] is None
    assert go(picture("s.png", (20, 17)))[0][0]["tiles"] is None
    assert go(picture("s.png", (20, 17)), tiles=True)[0][0]["tiles"] == 4
    (said,), _ = go(large, grid="16")
    assert (said["grid"], said["tiles"]) == ([16, 21], None)  # the shorter side, in the picture's aspect
    assert go(large, grid="16x16")[0][0]["grid"] == [16, 16]
    assert go(large, grid="picture", tiles=False)[0][0]["grid"] == [34, 45]
    # A tile that would see nothing: rebuilt as a whole, unless tiles were asked for.
    hole = trained("{name: inpaint-box, side: 0.6}")
    assert go(large, model=hole)[0][0]["tiles"] is None
    with raises(DataError, "x.png", "16x16", "--tiles"):
        go(large, model=hole, tiles=True)
    blur = trained("{name: blur-gaussian, width: 0.05}")
    (said,), _ = go(picture("s.png", (20, 17)), model=blur)
    assert (said["observed"], said["tiles"]) == (None, None)
    with raises(DataError, "blur-gaussian", "--tiles"):
        go(large, model=blur, tiles=True)


def test_fewer_samples_than_an_interval_needs(go, picture, tmp_path):
    go(picture(), samples=19)
    (said,), heard = go(picture(), samples=2)
    assert said["interval"] is None and any(not missing(text, "x", 2, "90 %", 19) for text in heard)
    left = {path.stem for path in (tmp_path / "out" / "x").iterdir()}
    assert left == {"deviation", "mean", "measured", "sample_1", "sample_2", "sheet"}  # nothing of the 19 is left
    (said,), _ = go(picture(), samples=1)
    assert said["deviation_scale"] is None and "deviation" not in arrays(tmp_path) and "psnr" in said["scores"]


def test_sampler_and_steps(go, trained, picture, tmp_path):
    go(picture(), sampler="em", steps=3)
    a, record = arrays(tmp_path), json.loads((tmp_path / "out" / "reconstruct.json").read_text())
    assert (record["sampler"], record["steps"]) == ("em", 3)
    go(picture(), model=trained(head=HEAD.replace("{method: heun, steps: 2}", "{method: em, steps: 3}")), out="recipe")
    np.testing.assert_array_equal(arrays(tmp_path, out="recipe")["samples"], a["samples"])
    go(picture(), out="own")
    assert (arrays(tmp_path, out="own")["samples"] != a["samples"]).any()


def test_noise_of_the_recipe(go, trained, picture, tmp_path):
    noisy = trained(head=HEAD + "noise: {sigma: 0.1}\n")
    (said,), _ = go(picture(), model=noisy)
    assert said["noise"] == 0.1
    a, truth = arrays(tmp_path), units(picture())
    seen = np.broadcast_to(a["observed"], truth.shape)
    assert 0.05 < (a["y"] - truth)[seen].std() < 0.2
    assert (a["deviation"] > 0).all()


def test_a_result_that_is_not_finite(go, trained, picture):
    broken = trained()
    with torch.no_grad():
        next(broken.model.parameters()).fill_(float("nan"))
    with raises(NonFiniteError, "x.png"):
        go(picture(), model=broken)


def test_whose_folder_it_is(go, picture, tmp_path):
    x, other = picture(), tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years")
    with raises(RecipeError, "other", "--out DIR"):
        go(x, out="other")
    assert [p.name for p in other.iterdir()] == ["thesis.tex"]
    with raises(RecipeError, tmp_path / "other" / "new", "--out DIR"):
        go(tmp_path, out="other/new")
    go(x)
    go(picture("y.png"))  # beside what is there
    assert (tmp_path / "out" / "x" / "mean.png").exists() and (tmp_path / "out" / "y" / "mean.png").exists()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"grid": "0"}, RecipeError, ("--grid 0", "48x64")),
        ({"grid": "4x"}, RecipeError, ("--grid 4x",)),
        ({"grid": "40"}, DataError, ("x.png", "13x18", "55x40")),
        ({"samples": 0}, RecipeError, ("--samples",)),
        ({"sampler": "huen"}, RecipeError, ("--sampler", "'huen'", "'heun'")),
        ({"steps": 0}, RecipeError, ("--steps", 0)),
        ({"samples": 2 * 10**6}, DataError, ("x.png", 2 * 10**6, "18x13", f"--samples {(3 << 28) // 702}")),
        ({"mask": Path("gone.png")}, DataError, ("gone.png",)),
    ],
)
def test_options_that_do_not_fit(go, picture, tmp_path, options, error, said):
    with raises(error, *said) as caught:
        go(picture(), **options)
    assert "\n" not in str(caught.value)


def test_inputs_that_do_not_fit_are_refused_before_any_work(go, trained, picture, tmp_path, write):
    x = picture()
    Image.new("L", (12, 18), 255).save(tmp_path / "mask.png")
    with raises(DataError, "x.png", "13x18", "mask.png", "12x18"):
        go(x, mask=tmp_path / "mask.png")
    with raises(RecipeError, "--mask", "--grid N"):
        go(x, mask=tmp_path / "mask.png", grid="16x16")
    with raises(RecipeError):
        go(x, model=trained("nothing"))
    points = write("x,y,r,g,b\n0,0,1,1,1\n", "p.csv")
    with raises(RecipeError, "p.csv", "--grid N"):
        go(points, grid="picture")
    with raises(DataError, "bad.csv:2"):
        go(x, points, write("x,y,r,g,b\n0,0,1,1\n", "bad.csv"))
    with raises(DataError, "x.png", "sparse-center", "18x13", 999, "--grid"):
        go(x, model=trained("{name: sparse-center, n: 999}"))
    assert not list((tmp_path / "out").rglob("*.npz"))


@pytest.mark.parametrize(
    ("options", "times"),
    [
        ({}, {"x.png": 2, "p.csv": 1, "p.npz": 1}),
        ({"mask": "mask.png"}, {"x.png": 2, "mask.png": 1, "p.csv": 1, "p.npz": 1}),
        ({"mask": "mask.png", "grid": "9"}, {"x.png": 2, "mask.png": 1, "p.csv": 1, "p.npz": 1}),
        ({"grid": "9x9"}, {"x.png": 2, "p.csv": 1, "p.npz": 1}),
    ],
)
def test_no_file_is_read_twice(go, picture, tmp_path, write, monkeypatch, options, times):
    """A file of points is opened once; an image once for its header, and once for its pixels."""
    Image.new("L", (13, 18), 255).save(tmp_path / "mask.png")
    np.savez(tmp_path / "p.npz", coordinates=np.full((1, 2), 0.5), values=np.zeros((1, 3)))
    inputs = picture(), write("x,y,r,g,b\n0,0,1,1,1\n", "p.csv"), tmp_path / "p.npz"
    opened, real = Counter(), io.open  # `Path.open` and `zipfile` call it

    def counting(file, *args, **kwargs):
        if isinstance(file, str | Path) and Path(file).name in times:
            opened[Path(file).name] += 1
        return real(file, *args, **kwargs)

    if "mask" in options:
        options = options | {"mask": tmp_path / options["mask"]}
    monkeypatch.setattr(io, "open", counting)
    go(*inputs, **options)
    assert opened == times


def test_scores_are_those_of_the_table(trained):
    model = trained()
    truth = torch.rand(1, 3, 16, 16) * 2 - 1
    m = binned(measure_points(torch.rand(1, 20, 2), torch.rand(1, 20, 3), Grid(16, 16)))
    posterior = model.posterior(m, 4)
    found = scores(truth, posterior)
    x, t = posterior.samples.double() / 2, truth.double() / 2
    spread = (x[:, None] - x[None]).abs().sum((0, 1)) / (4 * 3) / 2
    hidden = ~m.observed.expand_as(truth)
    assert found["crps"] == pytest.approx(float(((x - t).abs().mean(0) - spread)[hidden].mean()), rel=1e-5)
    assert set(scores(truth, model.posterior(m, 1))) == {"psnr"}
