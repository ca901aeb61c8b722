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

import invkit
from invkit.cli import main as cli

PAGE = DOCS / "reconstruct.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
TINY = """\
data: {name: photos}
degradation: {name: sparse-random}
model: {name: fno-unet, channels: 16, mult: [1], blocks: 1, modes: 3, embedding: 8}
train: {steps: 1, batch: 2, grids: [12], precision: float32}
sample: {steps: 2}
eval: {images: 1, samples: 2, methods: [model], metrics: [psnr]}
log: {tensorboard: false}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.yaml").write_text(TINY)
    return invkit.run(folder / "tiny.yaml", out=folder / "run", device="cpu")


@pytest.fixture
def reconstruct(run, capsys, tmp_path, monkeypatch):
    """Runs the command in this process, in a folder of its own: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def reconstruct(*arguments, model=run):
        with pytest.raises(SystemExit) as caught:
            cli.main(["reconstruct", str(model), *map(str, arguments), "--device", "cpu"])
        return caught.value.code, *capsys.readouterr()

    return reconstruct


@pytest.fixture(autouse=True)
def files(tmp_path):
    """What is given."""
    rng = np.random.default_rng(0)
    for name, shape in (("x.png", (15, 11)), ("mask.png", (15, 11)), ("large.jpg", (26, 31))):
        Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(tmp_path / name)
    Image.fromarray(np.uint8(255) * (rng.random((15, 11)) < 0.2)).save(tmp_path / "mask.png")
    Image.fromarray(np.zeros((15, 11), np.uint8)).save(tmp_path / "black.png")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    rows = "".join(f"{a:.6f},{b:.6f},{c:.6f},0,1\n" for a, b, c in rng.random((20, 3)))
    (tmp_path / "p.csv").write_text("x,y,r,g,b\n" + rows)
    (tmp_path / "short.csv").write_text("x,y,r,g,b\n0.1,0.2,1,1\n")
    (tmp_path / "grey.csv").write_text("x,y,grey\n0.1,0.2,1\n")
    (tmp_path / "far.csv").write_text("x,y,r,g,b\n12,7,1,1,1\n")
    (tmp_path / "bytes.csv").write_text("x,y,r,g,b\n0,0,255,1,1\n")
    np.savez(tmp_path / "p.npz", coordinates=rng.random((9, 2)), values=rng.random((9, 3)))
    np.savez(tmp_path / "other.npz", images=np.zeros((2, 4, 4, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "fake.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years")


def test_all_kinds_of_input(reconstruct, tmp_path):
    code, out, err = reconstruct("x.png", "large.jpg", "p.csv", "p.npz", "--out", "out", "--samples", 2)
    assert (code, out) == (0, "out/x\nout/large\nout/p\nout/p-2\n")
    assert "large.jpg: 2 samples on 26x31, by 12 tiles of 12x12" in err
    assert "p.csv: 2 samples on 12x12, as a whole" in err
    made = sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".npz")
    assert made == ["large.npz", "p-2.npz", "p.npz", "x.npz"]


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


def test_the_same_command_twice_gives_the_same_bytes(reconstruct, tmp_path):
    contents = []
    for _ in range(2):
        assert reconstruct("large.jpg", "p.csv", "--out", "out", "--samples", 2)[0] == 0
        contents.append(
            {p: p.read_bytes() for p in (tmp_path / "out").rglob("*.*") if p.suffix in (".png", ".npz", ".json")}
        )
    assert contents[0] == contents[1] and len(contents[0]) > 12


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["gone.png"], 3, "gone.png: there is no such file"),
        (["notes.txt"], 3, "notes.txt: neither a picture nor points"),
        (["fake.png"], 3, "fake.png: cannot be read as a picture (not an image in a known format)"),
        (["deep.png"], 3, "deep.png: cannot be read as a picture (not an image of 8 bits per channel)"),
        (["empty"], 3, "empty: no picture in it"),
        (["short.csv"], 3, "short.csv:2: 4 fields, and the header has 5"),
        (["grey.csv"], 3, "grey.csv:1: the header is 'x,y,grey', and the run's pictures have 3 channels"),
        (["far.csv"], 3, "far.csv:2: (12, 7) is outside the unit square; divide pixel coordinates"),
        (["bytes.csv"], 3, "bytes.csv:2: (255, 1, 1) is far from [-1, 1]"),
        (["other.npz"], 3, "other.npz: it holds images; it needs arrays coordinates"),
        (["x.png", "--mask", "gone.png"], 3, "gone.png: there is no such mask"),
        (["x.png", "--mask", "black.png"], 3, "black.png: the mask is black everywhere"),
        (["x.png", "--mask", "fake.png"], 3, "fake.png: cannot be read as a picture"),
        (["large.jpg", "--mask", "mask.png"], 3, "large.jpg: 31x26 pixels, and the mask mask.png has 11x15"),
        (["x.png", "--grid", "99"], 3, "x.png: cannot be used as a picture on 135x99"),
        (["x.png", "--grid", "big"], 2, "--grid big: want a number, height x width"),
        (["p.csv", "--grid", "picture"], 2, "p.csv: points have no grid of their own"),
        (["p.csv", "--range", "1", "0"], 2, "--range 1 0: the first number must be the smaller one"),
        (["p.csv", "--mask", "mask.png"], 2, "--mask is for pictures, and there are none"),
        (["x.png", "--range", "0", "1"], 2, "--range is for points, and there are none"),
        (["p.csv", "--grid", "4000"], 3, "p.csv: 19 samples on 4000x4000 are more than"),
        (["p.csv", "--grid", "64", "--tiles"], 3, "p.csv: the tile of 12x12 cells at row"),
        (["x.png", "--out", "full"], 2, "full is not empty and holds no earlier reconstructions"),
        (["full/../empty", "x.png", "--out", "empty/out"], 3, "no picture in it"),
        ([".", "--out", "out"], 2, "out lies in ., whose pictures are read"),
        (["x.png", "--out", "notes.txt/out"], 2, "notes.txt"),
    ],
)
def test_what_is_wrong_is_one_line(reconstruct, tmp_path, arguments, code, said):
    if "--out" not in arguments:
        arguments = [*arguments, "--out", "out"]
    before = sorted(tmp_path.rglob("*.*"))
    got, out, err = reconstruct(*arguments)
    assert (got, out) == (code, ""), err
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert said in line
    assert "Traceback" not in err
    assert not [
        path for path in sorted(tmp_path.rglob("*.*")) if path not in before and path.suffix in (".png", ".npz")
    ]


def test_what_is_no_run(reconstruct, tmp_path):
    code, out, err = reconstruct("x.png", "--out", "out", model=tmp_path / "empty")
    assert (code, out) == (3, "")
    assert err.startswith("error: ") and "is no run folder" in err
    assert reconstruct("--out", "out")[0] == 2
    assert reconstruct("x.png")[0] == 2
    assert reconstruct("x.png", "--out", "out", "--samples", 0)[0] == 2


def test_a_signal_stops_it_and_nothing_is_half_written(run, tmp_path):
    command = [
        sys.executable,
        "-m",
        "invkit",
        "reconstruct",
        str(run),
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
    assert (
        err.splitlines()[-1] == "error: stopped; what is written is whole, and the same command makes all of it again"
    )
    for path in (tmp_path / "out").rglob("*"):
        assert not path.name.startswith(".") or path.name == ".lock"
        if path.suffix == ".png":
            Image.open(path).verify()


def test_its_help_imports_no_torch():
    code = (
        "import sys, atexit; from invkit.cli.main import main\n"
        "atexit.register(lambda: print('torch' in sys.modules, 'pydantic' in sys.modules))\nmain(['reconstruct', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "False False"
    assert "--mask" in done.stdout


def test_the_page_does_what_it_says(reconstruct, run, tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(run)
    for name, source in (("holiday.jpg", "large.jpg"), ("scratched.png", "x.png"), ("sensors.csv", "p.csv")):
        (tmp_path / name).write_bytes((tmp_path / source).read_bytes())
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "one.jpg").write_bytes((tmp_path / "large.jpg").read_bytes())
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
