"""One code path for the CPU and CUDA: the same figures on both, and the whole of a recipe on a GPU."""

import json
import os
import signal
import subprocess
import sys
import warnings

import pytest
import torch
from invkit_sparse import RandomPixels
from support import ROOT
from support.runs import Heard

from invkit.core.device import autocast, pick_device
from invkit.core.distributed import join
from invkit.core.errors import Interrupted
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion.networks import NETWORKS
from invkit.diffusion.samplers import SAMPLERS
from invkit.experiment.run import load, profiled, run
from invkit.physics.gaussian import MaternField
from invkit.physics.gaussian.posterior import GaussianPosterior
from invkit.physics.measurement import Noise, measure
from invkit.plugins import loader as plugins
from invkit.recipe.recipe import load_recipe
from invkit.training.checkpoint import latest_checkpoint
from invkit.training.profiling import profile

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
GRID = Grid(20, 17)
FIELD = MaternField(std=0.5, length=0.25, exponent=2, color=0.5)
RECIPE = """\
seed: 3
data: {name: photos}
degradation: {name: sparse-random}
model: {name: fno-unet, channels: 16, mult: [1, 2], blocks: 1, modes: 3, embedding: 8, dropout: 0.1}
train: {steps: 6, batch: 6, warmup: 1, checkpoint_every: 3, sample_every: 3, determinism: strict}
sample: {steps: 3}
eval: {images: 6, samples: 5, batch: 3, methods: [gaussian, model]}
log: {every: 2, tensorboard: false}
"""


@pytest.fixture(autouse=True)
def exact():
    """Full float32, as every command has it; and what a strict run asked for is taken back."""
    pick_device("cuda")
    yield
    torch.use_deterministic_algorithms(False)


def both(work, **tolerance):
    """What `work` gives on a device, there and here, is the same."""
    here, there = work("cpu"), work("cuda")
    torch.testing.assert_close(there.cpu(), here, **tolerance)
    assert there.device.type == "cuda"


@pytest.mark.parametrize("fraction", [0.1, 0.8])
@pytest.mark.parametrize("sigma", [0.0, 0.1])
@pytest.mark.parametrize("what", ["mean", "variance", "sample", "loo_error"])
def test_gaussian_posterior(fraction, sigma, what):
    def work(device):
        keys = Keys.of(0, "cuda", range(5), device)
        operator = RandomPixels(fraction=fraction).sample(keys, GRID)
        posterior = GaussianPosterior(FIELD, m := measure(operator, FIELD.sample(keys, GRID), Noise(sigma=sigma), keys))
        if what == "loo_error":
            return posterior.loo_error(posterior.weights(m.y[None]))
        return posterior.sample(keys, 3) if what == "sample" else getattr(posterior, what)()

    both(work, rtol=1e-3, atol=1e-3)


NAMES = sorted(set(plugins.registry().names("degradation")) - {"mixture", "compose"})


@pytest.mark.parametrize("name", NAMES)
def test_operators(name):
    """Forward, adjoint and pseudo-inverse of every degradation that needs no settings."""
    cls = plugins.registry().names("degradation")[name]
    try:
        degradation = cls()
    except ValueError:
        pytest.skip("has settings without a default")

    def work(device):
        keys = Keys.of(0, name, range(3), device)
        operator = degradation.sample(keys, Grid(24, 24))
        x = keys.uniform("x", 3, 24, 24)
        y = operator.forward(x)
        return torch.cat([t.flatten(1) for t in (y, operator.adjoint(y), operator.pinv(y))], 1)

    both(work, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("kind", sorted(NETWORKS))
@pytest.mark.parametrize("bf16", [False, True])
def test_networks(kind, bf16):
    settings: dict = {"channels": 16, "mult": (1, 2), "blocks": 1}
    torch.manual_seed(0)
    net = NETWORKS[kind](**settings).build(11, 3).eval()
    with torch.no_grad():
        for p in net.parameters():  # the last layer begins at zero
            p.add_(0.02 * torch.randn_like(p))

    def work(device):
        keys = Keys.of(0, "net", range(4), device)
        x, e = keys.normal("x", 11, 32, 32), keys.normal("e", NETWORKS[kind](**settings).embedding_size)
        with torch.no_grad(), autocast(x.device, "bf16" if bf16 else "float32"):
            return net.to(device)(x, e).float()

    both(work, rtol=0, atol=0.05 if bf16 else 1e-3)


def trained(folder, *overrides, device="cuda", **kwargs):
    (folder / "r.yaml").write_text(RECIPE)
    return run(load_recipe(folder / "r.yaml", list(overrides)), folder / "run", device, **kwargs)


def observed():
    """A tenth of three pictures."""
    keys, grid = Keys.of(0, "m", range(3)), Grid(32, 32)
    x = FIELD.sample(keys, grid).clamp(-1, 1)
    return measure(RandomPixels(fraction=0.1).sample(keys, grid), x, Noise(sigma=0), keys)


def rows(folder):
    return {row["method"]: row["metrics"] for row in json.loads((folder / "eval" / "table.json").read_text())["rows"]}


def test_a_run_ends_where_it_would_have_ended_on_a_cpu(tmp_path):
    """Six steps in float32; then both devices read what was trained on CUDA."""
    folders = {}
    for device in ("cpu", "cuda"):
        (tmp_path / f"on-{device}").mkdir()
        folders[device] = trained(
            tmp_path / f"on-{device}", "train.precision=float32", "model.dropout=0", device=device
        )
    here, there = (load(folder, "cpu").model.state_dict() for folder in folders.values())
    for name, value in here.items():
        torch.testing.assert_close(there[name], value, rtol=1e-3, atol=2e-3)
    states = [load(folders["cuda"], device) for device in ("cpu", "cuda")]
    means = [state.mean(observed()).cpu() for state in states]
    torch.testing.assert_close(*means, rtol=0, atol=2e-3)


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = trained(tmp_path / "a")
    with pytest.raises(Interrupted):
        trained(tmp_path / "b", listener=Heard(3, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    parts = trained(tmp_path / "b")
    a, b = (load(folder, "cpu").model.state_dict() for folder in (whole, parts))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert rows(whole) == rows(parts)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes(path, tmp_path, monkeypatch):
    """Every recipe at its full width for two steps, with its own precision."""
    monkeypatch.setattr("invkit.data.cifar10.Cifar10.missing", lambda _: "no network in tests")
    recipe = load_recipe(path, ["train.steps=2", "eval.images=4", "eval.samples=2", "eval.batch=2"])
    folder = run(recipe, tmp_path / "run", "cuda", smoke=True)
    assert latest_checkpoint(folder / "checkpoints") is not None
    assert all(row["metrics"] for row in json.loads((folder / "eval" / "table.json").read_text())["rows"])
    assert (folder / "report.html").exists()


@pytest.mark.parametrize("method", sorted(SAMPLERS))
def test_samplers(method, tmp_path):
    folder = trained(
        tmp_path, "train.steps=2", "train.precision=float32", f"sample.method={method}", "train.one_step_share=0.5"
    )
    here, there = (load(folder, device).sample(observed(), 3).cpu() for device in ("cpu", "cuda"))
    torch.testing.assert_close(there, here, rtol=0, atol=5e-3)


def test_too_little_memory_has_its_own_code(tmp_path):
    """Of a GPU, in a process of its own that may have a two-hundredth of it."""
    (tmp_path / "r.yaml").write_text(RECIPE.replace("batch: 6", "batch: 512").replace("channels: 16", "channels: 128"))
    script = (
        "import sys, torch; torch.cuda.set_per_process_memory_fraction(0.005)\n"
        "from invkit.cli.main import main; main(sys.argv[1:])"
    )
    command = ["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "run"), "--device", "cuda"]
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 6, done.stderr
    assert "Traceback" not in done.stderr and "train.batch" in done.stderr


def test_nccl_carries_what_a_world_sends(monkeypatch):
    """A world of two has one GPU each; the group itself is tried here with the one that is there."""
    from torch import distributed as dist

    from invkit.core.distributed import World

    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29533", "WORLD_SIZE": "1", "RANK": "0"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with join(torch.device("cuda")) as (world, _):
        assert world.size == 1
    dist.init_process_group("cpu:gloo,cuda:nccl", device_id=torch.device("cuda", 0))
    try:
        alone = World(0, 2)  # asks the group, which has one member
        values = [
            torch.ones(5, device="cuda"),
            torch.full((3,), 2.0, device="cuda", dtype=torch.bfloat16),
            torch.ones(2),
        ]
        alone.sum_(values)
        alone.broadcast_(values)
        assert [float(v[0]) for v in values] == [1, 2, 1]
        assert alone.any(True) and not alone.any(False)
    finally:
        dist.destroy_process_group()


def test_the_parts_of_a_step_are_told_apart(tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "r.yaml")
    rows = {row["part"]: row for row in profile(profiled(recipe, "cuda"), recipe.sample)[0]}
    assert rows["backward"]["share"] > 0.05 and rows["network, forward"]["share"] > 0.05 and rows["rest"]["share"] < 0.5
    assert rows["backward"]["step"] > 20  # launched by another thread


def test_the_host_waits_for_the_device_nowhere(tmp_path):
    """In a step after the first ones, a mean and a sample."""
    (tmp_path / "r.yaml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "r.yaml", ["train.workers=0"])
    trainer = profiled(recipe, "cuda")
    grid, keys = trainer.grid(0), Keys.of(0, "waits", range(4), "cuda")
    x, steps = trainer.problem.images[grid][list(range(4))].cuda(), trainer.run()

    def drawn(label):
        own = keys.child(label)
        measurement = trainer.problem.measure(x, own, grid)
        trainer.model.mean(measurement)
        trainer.model.sample(measurement, own, 2, recipe.sample)

    for i in range(4):  # matrices are computed that are kept, and graphs captured
        next(steps)
        drawn(f"before {i}")
    torch.cuda.set_sync_debug_mode("error")
    try:
        next(steps)
        drawn("last")
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_graphs_give_the_bits_of_ordinary_calls(tmp_path):
    """Weights and table of a strict run in which steps, means and samples are replayed, on two grids."""
    folders = {}
    for graph in ("auto", "off"):
        (tmp_path / graph).mkdir()
        changes = ["model.dropout=0", "train.steps=12", "train.grids=[16, 24]", f"train.graph={graph}"]
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="CUDA graphs")
            folders[graph] = trained(tmp_path / graph, *changes)
    a, b = (load(folder, "cpu").model.state_dict() for folder in folders.values())
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert rows(folders["auto"]) == rows(folders["off"])


def test_the_command_line_says_the_device():
    done = subprocess.run([sys.executable, "-m", "invkit", "doctor"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and torch.cuda.get_device_name() in done.stdout
