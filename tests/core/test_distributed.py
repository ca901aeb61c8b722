"""Worlds of forked gloo processes on this machine, against one process."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import chain
from typing import Any

import pytest
import torch
from invkit_sparse import RandomPixels
from support.evaluations import Draws, protocol_of
from support.messages import missing, raises
from support.runs import Heard
from support.worlds import in_world

from invkit.core import distributed
from invkit.core.distributed import ALONE, World, _code, join, launch
from invkit.core.errors import DataError, Interrupted, PeerError, RecipeError
from invkit.core.grid import Grid
from invkit.data.gaussian_fields import Fields
from invkit.diffusion import Diffusion, Sample
from invkit.diffusion.networks import NETWORKS
from invkit.evaluation.evaluator import evaluate_rows
from invkit.evaluation.settings import Eval
from invkit.experiment.run import run
from invkit.physics.measurement import Noise
from invkit.recipe.recipe import load_recipe
from invkit.reconstructors import METHODS, Sources
from invkit.training.checkpoint import latest_checkpoint
from invkit.training.initialise import build_model
from invkit.training.problem import Problem
from invkit.training.settings import Train
from invkit.training.trainer import Trainer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks processes")
CPU = torch.device("cpu")
NETWORK = NETWORKS["fno-unet"](channels=16, mult=(1, 2), blocks=1, embedding=8, modes=3)
UNEVEN = ("train.batch=5", "model.dropout=0.0", "train.determinism=fast")  # five divide among no two processes
SAME = {"rtol": 1e-5, "atol": 1e-5}  # float32 sums in another order, six updates later


def test_shares_are_the_whole_in_order_and_even():
    for size in range(1, 6):
        for count in range(20):
            parts = [World(rank, size).share(list(range(count))) for rank in range(size)]
            assert [*chain(*parts)] == list(range(count))
            lengths = [len(part) for part in parts]
            assert max(lengths) - min(lengths) <= 1 and lengths[0] == max(lengths)


def test_alone_nothing_is_done():
    x = torch.ones(3)
    ALONE.sum_([x])
    ALONE.broadcast_([x])
    ALONE.barrier()
    ALONE.agree(3, "nothing")
    assert torch.equal(x, torch.ones(3)) and ALONE.any(True) and not ALONE.any(False) and ALONE.first
    assert ALONE.gather(b"x") == [b"x"] and ALONE.share(range(5)) == range(5)
    with join(CPU) as (world, device):
        assert (world, device) == (ALONE, CPU)


def test_collectives_of_three_processes(monkeypatch):
    monkeypatch.setattr(distributed, "BUCKET", 40)  # several buckets

    def work(world: World) -> dict[str, Any]:
        kinds = (torch.float32, torch.float64, torch.float32, torch.int64)
        summed = [torch.full((2, 3, 1, 2), 10.0**world.rank).to(kind) for kind in kinds]
        summed[0] = summed[0].to(memory_format=torch.channels_last)
        sent = [torch.arange(5) * (world.rank + 1), torch.tensor(float(world.rank))]
        world.sum_(summed)
        world.broadcast_(sent)
        told = [world.any(world.rank == 2), world.any(False)]
        try:
            world.agree(world.rank // 2, "the half")
        except DataError as error:
            told.append(str(error))
        return {
            "sum": [t.unique().tolist() for t in summed], "sent": [t.tolist() for t in sent], "told": told,
            "gathered": world.gather(b"ab" * world.rank + b"c"),
        }  # fmt: skip

    for found in in_world(3, work):
        assert found == {
            "sum": [[111]] * 4, "sent": [[0, 1, 2, 3, 4], 0.0],
            "told": [True, False, "the half differs between the processes: 0, 0, 1"], "gathered": [b"c", b"abc", b"ababc"],
        }  # fmt: skip


def train(world: World, steps: int = 6) -> dict[str, Any]:
    """Steps on two grids; parts of five pictures divide among no two processes."""
    train = Train(steps=steps, batch=10, accumulate=2, warmup=2, precision="float32")
    images = {Grid(n, n): Fields(train_size=50).open("train", Grid(n, n), 0) for n in (16, 20)}
    problem = Problem(images, RandomPixels(), Noise(), 0)
    trainer = Trainer(problem, build_model(problem, NETWORK, Diffusion(), "float32", CPU), train, CPU, world)
    records = [(float(r.loss), float(r.grad_norm), r.images) for r in trainer.run()]
    return {"records": records, "weights": {n: p.detach().numpy() for n, p in trainer.model.named_parameters()}}


def apart(a: dict[str, Any], b: dict[str, Any]) -> float:
    """The largest difference of weights, in units of what counts as the same."""
    return max(
        float(((torch.tensor(x) - torch.tensor(y)).abs() / (SAME["atol"] + SAME["rtol"] * torch.tensor(x).abs())).max())
        for x, y in zip(a["weights"].values(), b["weights"].values(), strict=True)
    )


def test_two_processes_make_the_updates_of_one(monkeypatch):
    one, two = train(ALONE), in_world(2, train)
    assert all((two[0]["weights"][n] == two[1]["weights"][n]).all() for n in one["weights"])
    assert two[0]["records"] == two[1]["records"]
    for found, expected in zip(two[0]["records"], one["records"], strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    assert apart(one, two[0]) < 1
    # Gradients that are not added up, or shares that are not shares, are seen.
    short = train(ALONE, steps=1)
    for name, mutant in (("sum_", lambda *_: None), ("share", lambda _, items: items[:3])):
        with monkeypatch.context() as patched:
            patched.setattr(World, name, mutant)
            assert apart(short, in_world(2, partial(train, steps=1))[0]) > 10


def test_more_processes_than_pictures_are_refused():
    with raises(RecipeError, "train.batch", 5, 6, "train.accumulate"):
        train(World(5, 6))


def evaluate(world: World, count: int = 21) -> dict[str, Any]:
    """A table of `count` pictures, four at a time."""
    images = Draws(count, share=2)
    problem = Problem({images.grid: images}, RandomPixels(), Noise(), 0)
    model = build_model(problem, NETWORK, Diffusion(), "float32", CPU)
    images.asked.clear()
    sources = Sources(model, Sample(steps=2), None)
    heard: list[int] = []
    result = evaluate_rows(
        [METHODS[name]().build(sources) for name in ("nearest", "gaussian", "model")], problem.images,
        protocol_of(Eval(images=count, samples=3, batch=4), degradation=problem.degradation, seed=0),
        progress=lambda done, _: heard.append(done), world=world,
    )  # fmt: skip
    assert heard == sorted(heard) and all(done <= count for done in heard)
    arrays = [(stem, key, a.tobytes()) for stem, kept in result.arrays.items() for key, a in kept.items()]
    return {
        "table": json.dumps(result.table), "asked": images.asked, "arrays": arrays, "per_image": result.per_image,
        "timed": [row["warmed_up"] for row in result.cost["rows"]],
    }  # fmt: skip


@pytest.mark.parametrize(("count", "size"), [(21, 2), (6, 3)])
def test_a_table_is_the_same_bytes_and_no_picture_is_lost_or_repeated(count, size):
    """Of 21 pictures in six batches, the last of one picture; and of two batches for three processes."""
    one, several = evaluate(ALONE, count), in_world(size, partial(evaluate, count=count))
    assert [*chain(*(found["asked"] for found in several))] == one["asked"] == list(range(count))
    for found in several:
        assert {**found, "asked": 0} == {**one, "asked": 0}
    assert all(found["asked"] != one["asked"] for found in several)


def test_a_signal_to_one_process_stops_all_after_the_same_step_and_one_goes_on(recipe, tmp_path):
    recipe, folder = load_recipe(recipe, UNEVEN), tmp_path / "run"

    def work(world: World) -> tuple[list[int], str, int] | None:
        if not world.first:
            (tmp_path / "pid").write_text(str(os.getpid()))
        heard = Heard(3, lambda: os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM))
        try:
            run(recipe, folder, "cpu", listener=heard)
        except Interrupted as error:
            return heard.steps, str(error), error.exit_code

    speaking, silent = in_world(2, work, joined=False)
    stopped = speaking[0][-1]
    assert stopped in (3, 4) and not missing(speaking[1], f"step {stopped}")  # the signal may arrive a step later
    assert silent == ([], "", 75) and speaking[2] == 75
    assert latest_checkpoint(folder / "checkpoints").step == stopped
    heard = Heard()
    run(recipe, folder, "cpu", listener=heard)
    assert heard.steps == list(range(stopped + 1, 7))
    run(recipe, tmp_path / "whole", "cpu")
    found, expected = (
        latest_checkpoint(tmp_path / name / "checkpoints").tensors["weights"] for name in ("run", "whole")
    )
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **SAME)


def test_the_end_of_one_process_ends_the_others():
    def work(world: World) -> None:
        if not world.first:
            raise DataError("no such picture")
        world.sum_([torch.ones(3)])

    start = time.monotonic()
    waiting, failed = in_world(2, work)
    assert isinstance(failed, DataError) and isinstance(waiting, PeerError)
    assert time.monotonic() - start < 60


PROGRAM = """
import os, signal, sys, time
rank = int(os.environ["RANK"])
assert os.environ["LOCAL_RANK"] == str(rank) and os.environ["WORLD_SIZE"] == "3" and os.environ["OMP_NUM_THREADS"]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print(rank, flush=True)
"""


@pytest.mark.parametrize(
    ("rest", "code"),
    [
        ("", 0),
        ("sys.exit([1, 3, 1][rank])", 3),  # those that lost a peer end with 1
        ("rank == 2 and sys.exit(5); time.sleep(60)", 5),  # and those that hang are ended
        ("rank == 1 and sys.exit(1)", 1),
        ("rank == 1 and os.kill(os.getpid(), signal.SIGKILL); time.sleep(60)", 137),
        ("rank == 0 and os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)", 75),  # the launcher passes it on
    ],
)
def test_the_launcher_ends_with_the_code_of_what_failed(monkeypatch, rest, code):
    monkeypatch.setattr(distributed, "GRACE", 1.0)
    handler, start = signal.getsignal(signal.SIGTERM), time.monotonic()
    # By then all have said that they are there.
    assert launch([sys.executable, "-S", "-c", f"{PROGRAM}time.sleep(0.5)\n{rest}"], 3) == code
    assert signal.getsignal(signal.SIGTERM) is handler and time.monotonic() - start < 50


def test_where_the_launcher_was_killed_its_processes_ask_themselves_to_stop():
    receive, send = os.pipe()
    if not (launcher := os.fork()):
        os.environ["INVKIT_LAUNCHER"] = str(os.getpid())
        if not os.fork():
            signal.signal(signal.SIGTERM, lambda *_: (os.write(send, b"asked"), os._exit(0)))
            distributed._end_with_launcher()
            os.write(send, b"ready ")
        time.sleep(30)
        os._exit(1)
    os.close(send)
    assert os.read(receive, 6) == b"ready "
    os.kill(launcher, signal.SIGKILL)
    os.waitpid(launcher, 0)
    assert os.read(receive, 6) == b"asked"
    os.close(receive)


def test_codes():
    assert [_code(failed) for failed in ([], [1], [1, 5, 1], [-9, 1, 3], [75, 75])] == [0, 1, 5, 137, 75]


@pytest.mark.slow
def test_the_real_command_on_two_processes(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as many in each of two processes as in one
    command = [sys.executable, "-m", "invkit", "run", str(recipe), *UNEVEN, "--device", "cpu"]
    one = [*command, "--out", str(tmp_path / "two"), "train.steps=40"]
    several = [*one, "--nproc", "2"]
    process = subprocess.Popen(several, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list((tmp_path / "two").glob("checkpoints/step-*")):
        time.sleep(0.05)
    process.terminate()
    said = process.communicate(timeout=300)
    assert (
        process.returncode == 75
        and said[0] == ""
        and said[1].count("the state is saved") == 1
        and "error: " not in said[1]
    ), said
    done = subprocess.run(several, capture_output=True, text=True, timeout=600, check=True)
    assert done.stderr.count("report.html") == 1
    assert json.loads((tmp_path / "two" / "record.json").read_text())["processes"] == 2
    steps = [json.loads(line)["step"] for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(2, 41, 2))
    table = (tmp_path / "two" / "eval" / "table.json").read_bytes()
    (tmp_path / "two" / "eval" / "done.json").unlink()
    assert subprocess.run(one, capture_output=True, text=True, timeout=600, check=True).stdout == done.stdout
    assert (tmp_path / "two" / "eval" / "table.json").read_bytes() == table
    failed = subprocess.run([*several, "seed=4"], capture_output=True, text=True, timeout=300)
    assert (
        failed.returncode == 2
        and not missing(failed.stderr, "seed=3", 4, "--fresh")
        and "Traceback" not in failed.stderr
    )
