"""`invkit reconstruct` as a person calls it: streams, exit codes, and one line for whatever is wrong."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from support import DOCS
from support.messages import missing
from support.runs import TINY

from invkit.cli import main as cli
from invkit.experiment.run import run
from invkit.recipe.recipe import load_recipe

PAGE = DOCS / "howto/reconstruct.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)


@pytest.fixture
def reconstruct(trained_run, capsys, tmp_path, monkeypatch):
    """Runs the command in this process, in a folder of its own: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def reconstruct(*arguments, model=trained_run):
        with pytest.raises(SystemExit) as caught:
            cli.main(["reconstruct", str(model), *map(str, arguments), "--device", "cpu"])
        return caught.value.code, *capsys.readouterr()

    return reconstruct


@pytest.fixture(autouse=True)
def files(tmp_path):
    """What is given."""
    rng = np.random.default_rng(0)
    for name, shape in (("x.png", (15, 11)), ("mask.png", (15, 11)), ("large.jpg", (34, 40))):
        Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(tmp_path / name)
    Image.fromarray(np.uint8(255) * (rng.random((15, 11)) < 0.2)).save(tmp_path / "mask.png")
    Image.fromarray(np.zeros((15, 11), np.uint8)).save(tmp_path / "black.png")
    rows = "".join(f"{a:.6f},{b:.6f},{c:.6f},0,1\n" for a, b, c in rng.random((20, 3)))
    (tmp_path / "p.csv").write_text("x,y,r,g,b\n" + rows)
    (tmp_path / "short.csv").write_text("x,y,r,g,b\n0.1,0.2,1,1\n")
    np.savez(tmp_path / "p.npz", coordinates=rng.random((9, 2)), values=rng.random((9, 3)))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years")


def test_all_kinds_of_input(reconstruct, tmp_path):
    code, out, err = reconstruct("x.png", "large.jpg", "p.csv", "p.npz", "--out", "out", "--samples", 2)
    assert (code, out) == (0, "out/x\nout/large\nout/p\nout/p-2\n")
    assert any(not missing(line, "large.jpg", 2, "34x40", "16x16") for line in err.splitlines())
    assert any(not missing(line, "p.csv", 2, "16x16") for line in err.splitlines())
    made = sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".npz")
    assert made == ["large.npz", "p-2.npz", "p.npz", "x.npz"]


def test_images_of_16_bits_and_temperatures_on_a_rectangle_keep_their_units(reconstruct, write, tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "scans"
    folder.mkdir()
    for k in range(6):
        ramp = 30000 + rng.uniform(-500, 500, 2) @ np.indices((16, 16)).reshape(2, -1)  # smooth, as temperatures are
        Image.fromarray(ramp.reshape(16, 16).astype(np.uint16)).save(folder / f"{k}.tif")
    data = f"{{name: images, root: {folder}}}"
    recipe = TINY.replace("{name: photos}", data).replace(
        "{name: sparse-random}", "{name: sparse-random, fraction: 0.3}"
    )
    model = run(load_recipe(write(recipe)), tmp_path / "run", "cpu")
    image = rng.integers(20000, 40000, (16, 16), np.uint16)
    Image.fromarray(image).save("image.tif")
    x, y = rng.random((2, 120))
    rows = np.stack([x, y, 15 + 10 * x], 1)
    np.savetxt("t.csv", rows, delimiter=",", header="x,y,celsius", comments="")

    code, out, err = reconstruct("image.tif", "--samples", 2, "--out", "out", "--json", model=model)
    assert code == 0, err
    a, said = np.load("out/image.npz"), json.loads(out)["outputs"][0]
    assert said["range"] == [0, 65535]
    np.testing.assert_allclose(a["y"][a["observed"]], image[a["observed"][0]], atol=0.1)
    assert 20000 < a["mean"].mean() < 40000
    assert said["deviation_scale"] == pytest.approx(a["deviation"].max(), rel=1e-4)

    code, out, err = reconstruct(
        "t.csv", "--range", 0, 50, "--grid", "8x16", "--samples", 2, "--out", "out", "--json", model=model
    )
    assert code == 0, err
    b, said = np.load("out/t.npz"), json.loads(out)["outputs"][0]
    assert (said["grid"], said["range"]) == ([8, 16], [0, 50]) and b["mean"].shape == (1, 8, 16)
    np.testing.assert_allclose(b["mean"][0].mean(0)[[2, 13]], [15 + 10 * 2.5 / 16, 15 + 10 * 13.5 / 16], atol=1.5)
    table = np.genfromtxt("out/t.csv", delimiter=",", names=True)
    np.testing.assert_allclose(table["mean"], b["mean"].ravel(), rtol=1e-5)


def test_json(reconstruct, tmp_path):
    code, out, _ = reconstruct(
        "x.png", "--mask", "mask.png", "--out", "out", "--json", "--samples", 19, "--grid", "picture"
    )
    found = json.loads(out)
    assert (code, found["schema"], found["out"]) == (0, "invkit.reconstruct/1", "out")
    (output,) = found["outputs"]
    assert (output["name"], output["grid"], output["interval"], output["degraded_by"]) == ("x", [15, 11], 90, None)
    assert all((tmp_path / "out" / name).is_file() for name in (*output["pictures"], output["arrays"]))
    assert json.loads((tmp_path / "out" / "reconstruct.json").read_text())["outputs"] == found["outputs"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["gone.png"], 3, ("gone.png",)),
        (["short.csv"], 3, ("short.csv:2", 4, 5)),
        (["x.png", "--mask", "black.png"], 3, ("black.png",)),
        (["large.jpg", "--mask", "mask.png"], 3, ("large.jpg", "40x34", "mask.png", "11x15")),
        (["x.png", "--grid", "big"], 2, ("--grid big", "48x64")),
        (["p.csv", "--range", "1", "0"], 2, ("--range 1 0",)),
        (["p.csv", "--mask", "mask.png"], 2, ("--mask",)),
        (["p.csv", "--grid", "64", "--tiles"], 3, ("p.csv", "16x16", "--tiles")),
        (["x.png", "--out", "full"], 2, ("full", "--out DIR")),
        (["full/../empty", "x.png", "--out", "empty/out"], 3, ("empty",)),
        ([".", "--out", "out"], 2, ("out", "--out DIR")),
        (["x.png", "--out", "notes.txt/out"], 2, ("notes.txt",)),
    ],
)
def test_what_is_wrong_is_one_line(reconstruct, tmp_path, arguments, code, said):
    if "--out" not in arguments:
        arguments = [*arguments, "--out", "out"]
    before = sorted(tmp_path.rglob("*.*"))
    got, out, err = reconstruct(*arguments)
    assert (got, out) == (code, ""), err
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert not missing(line, *said)
    assert "Traceback" not in err
    assert not [
        path for path in sorted(tmp_path.rglob("*.*")) if path not in before and path.suffix in (".png", ".npz")
    ]


def test_what_is_no_run(reconstruct, tmp_path):
    code, out, err = reconstruct("x.png", "--out", "out", model=tmp_path / "empty")
    assert (code, out) == (3, "")
    assert err.startswith("error: ") and not missing(err, tmp_path / "empty", "invkit run")
    assert reconstruct("--out", "out")[0] == 2
    assert reconstruct("x.png")[0] == 2
    assert reconstruct("x.png", "--out", "out", "--samples", 0)[0] == 2


def test_a_signal_stops_it_and_nothing_is_half_written(trained_run, tmp_path):
    command = [
        sys.executable,
        "-m",
        "invkit",
        "reconstruct",
        trained_run,
        "x.png",
        "large.jpg",
        "--samples",
        "900",
        "--out",
        "out",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    deadline = time.monotonic() + 240
    while not (tmp_path / "out" / "reconstruct.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 75
    assert err.splitlines()[-1].startswith("stopped")
    for path in (tmp_path / "out").rglob("*"):
        assert not path.name.startswith(".") or path.name in (".lock", ".done", ".partial")
        if path.suffix == ".png":
            Image.open(path).verify()


def test_the_page_does_what_it_says(reconstruct, trained_run, tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(trained_run)
    for name, source in (("holiday.jpg", "large.jpg"), ("scratched.png", "x.png"), ("sensors.csv", "p.csv")):
        (tmp_path / name).write_bytes((tmp_path / source).read_bytes())
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one.jpg").write_bytes((tmp_path / "large.jpg").read_bytes())
    commands = [line for language, text in BLOCKS if language == "bash" for line in text.splitlines()]
    assert len(commands) == 4
    for line in commands:
        name, command, model, *rest = line.split()
        assert (name, command) == ("invkit", "reconstruct")
        code, _, err = reconstruct(*rest, model=model)
        assert code == 0, err
    assert {path.name for path in (tmp_path / "results").glob("*.npz")} == {
        "holiday.npz",
        "scratched.npz",
        "sensors.npz",
    }
    (python,) = (text for language, text in BLOCKS if language == "python")
    exec(compile(python, PAGE.name, "exec"), {})
    assert "17x40 torch.Size([1, 3, 17, 40]) torch.Size([19, 1, 3, 17, 40])" in capsys.readouterr().out


def test_what_is_replaced_is_told(reconstruct, tmp_path):
    (tmp_path / "other").mkdir()
    Image.open(tmp_path / "x.png").save(tmp_path / "other" / "x.png")
    assert "replaces" not in reconstruct("x.png", "--out", "out", "--samples", 2)[2]
    assert "replaces" not in reconstruct(tmp_path / "x.png", "--out", "out", "--samples", 2)[2]
    code, _, err = reconstruct("other/x.png", "p.csv", "--out", "out", "--samples", 2)
    (line,) = [line for line in err.splitlines() if "replaces" in line]
    assert code == 0 and line == f"other/x.png: replaces out/x, the reconstruction of {tmp_path / 'x.png'}"
