"""Whole runs: stopped in any phase, out of disk or memory, in a folder that is taken; and what they write down."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support import runs
from support.counts import tiers
from support.faults import mutated
from support.messages import raises
from support.trainers import trainer

from invkit.core import signals
from invkit.core.errors import Interrupted, RecipeError, to_user_error
from invkit.core.files import locked
from invkit.core.signals import stop_requests
from invkit.experiment import evaluate as evaluating
from invkit.experiment import run as running
from invkit.experiment import train as fitting
from invkit.experiment.callbacks import Listener
from invkit.experiment.run import evaluate, run
from invkit.experiment.run_folder import RunFolder, without_secrets
from invkit.plugins.loader import registry
from invkit.recipe.recipe import load_recipe
from invkit.training.checkpoint import latest_checkpoint
from invkit.training.trainer import Trainer

RECIPE = """\
# tokens do not belong here: https://me:hunter2@example.org/data?api_key=s3cr3t&size=3
seed: 3
data: {name: photos}
degradation: {name: sparse-random}
model: {name: fno-unet, channels: 8, mult: [1], blocks: 1, modes: 3, embedding: 8}
train: {steps: 4, batch: 2, warmup: 1, grids: [16], checkpoint_every: 2, sample_every: 2, precision: float32, determinism: strict}
sample: {steps: 2}
eval: {images: 2, samples: 2, batch: 2, methods: [gaussian, model], metrics: [psnr, crps]}
log: {every: 1, tensorboard: false}
"""
PHASES = ["fetching", "building", "training", "the sheet", "evaluating", "the report"]


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    return load_recipe(tmp_path / "tiny.yaml")


class Heard(Listener):
    def __init__(self, phase: str = "", number: int = 0) -> None:
        self.steps: list[int] = []
        self.phase, self.number = phase, number

    def trained(self, record):
        self.steps.append(record.step)
        if self.phase == "training" and record.step == 3:
            os.kill(os.getpid(), self.number)

    def evaluated(self, done, total):
        if self.phase == "evaluating":
            os.kill(os.getpid(), self.number)


@contextmanager
def signalled(phase: str, number: int, monkeypatch):
    """The signal comes where a phase begins, or for training and evaluation in the middle."""
    places = {
        "fetching": (running, "_download"), "building": (fitting, "build_model"), "the sheet": (fitting, "sample_sheet"),
        "the report": (evaluating, "write_report"),
    }  # fmt: skip
    with monkeypatch.context() as patch:
        if phase in places:
            real = getattr(*places[phase])

            def first(*arguments, **options):
                os.kill(os.getpid(), number)
                return real(*arguments, **options)

            patch.setattr(*places[phase], first)
        yield Heard(phase, number)


def same(a: Path, b: Path) -> bool:
    table = [(f / "eval" / "table.json").read_text().replace(f'"{f.name}"', '"run"') for f in (a, b)]
    sheets = [sorted(p.name for p in (f / "samples").iterdir()) for f in (a, b)]
    return runs.same(runs.weights(a), runs.weights(b)) and table[0] == table[1] and sheets[0] == sheets[1]


@tiers("stops")
def test_a_signal_in_any_phase_saves_and_nothing_is_lost(recipe, tmp_path, count, figure, monkeypatch):
    run(recipe, tmp_path / "undisturbed", "cpu")
    failed, tried = [], 0
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)[: max(1, count // 4)]:
        folder = tmp_path / f"stopped{number}"
        for phase in PHASES:
            tried += 1
            with signalled(phase, number, monkeypatch) as heard:
                try:
                    run(recipe, folder, "cpu", listener=heard)
                    failed.append(f"{phase}: it went on")
                except Interrupted as error:
                    if "\n" in str(error) or error.exit_code != 75:
                        failed.append(f"{phase}: {error}")
            begun = (folder / "checkpoints").exists()
            if begun != (phase not in ("fetching", "building")):
                failed.append(f"{phase}: checkpoints {begun}")
            if begun and phase == "training" and latest_checkpoint(folder / "checkpoints").step != 3:
                failed.append("training: not saved at its step")
            if left := [p for p in folder.rglob(".*") if p.name != ".lock"]:
                failed.append(f"{phase}: left {left}")
        heard = Heard()
        run(recipe, folder, "cpu", listener=heard)
        if heard.steps or not same(folder, tmp_path / "undisturbed"):
            failed.append(f"{signal.Signals(number).name}: not the same as undisturbed")
    figure("signals in every phase of a run: state lost, or another end than exit code 75", tried, len(failed))
    assert failed == []


def test_a_signal_between_the_parts_of_a_step_ends_it(recipe, tmp_path, monkeypatch):
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"accumulate": 2})})
    run(recipe, tmp_path / "undisturbed", "cpu")
    computed, whole = [], Trainer._losses

    def losses(self, step, part):
        if (step, part) == (3, 1):
            os.kill(os.getpid(), signal.SIGTERM)
        result = whole(self, step, part)
        computed.append((step, part))
        return result

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_losses", losses)
        with raises(Interrupted, "step 3"):
            run(recipe, tmp_path / "stopped", "cpu")
    assert computed[-1] == (3, 0) and latest_checkpoint(tmp_path / "stopped" / "checkpoints").step == 3
    run(recipe, tmp_path / "stopped", "cpu")
    assert same(tmp_path / "stopped", tmp_path / "undisturbed")


def test_a_signal_before_the_first_step_is_done_leaves_nothing_wrong(recipe, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_losses", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        with raises(Interrupted, "step 0"):
            run(recipe, tmp_path / "stopped", "cpu")
    run(recipe, tmp_path / "stopped", "cpu")
    run(recipe, tmp_path / "undisturbed", "cpu")
    assert same(tmp_path / "stopped", tmp_path / "undisturbed")


def test_a_signal_ends_a_backward_pass():
    t, begun = trainer({"steps": 2, "batch": 64}, grids=(64,)), threading.Event()

    def send() -> None:
        begun.wait()
        time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    def noticed(_: object) -> None:
        begun.set()

    losses = t._losses
    t._losses = lambda step, part: begin(losses(step, part))

    def begin(loss):
        loss.register_hook(noticed)
        return loss

    threading.Thread(target=send).start()
    with pytest.raises(Interrupted), stop_requests():
        t._backward()
    gradients = [p.grad is not None for p in t.model.parameters()]
    assert not all(gradients)


def twice(reached: list[str]) -> None:
    with stop_requests() as stop, stop.hold():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)  # changes nothing
        reached.append(f"asked: {stop()}")
        signal.raise_signal(signal.SIGINT)
        reached.append("went on")


def test_a_second_interrupt_ends_at_once():
    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt) as error:
        twice(reached)
    assert reached == ["asked: True"] and type(error.value) is KeyboardInterrupt


def held(reached: list[str]) -> None:
    with stop_requests() as stop, stop.hold():
        with stop.release():
            signal.raise_signal(signal.SIGUSR1)
            reached.append("a released block went on")
        reached.append(f"asked: {stop()}")


def caught(reached: list[str]) -> None:
    with stop_requests():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception:
            reached.append("caught")
        reached.append("went on")


def test_requests_wait_where_they_are_held_and_end_the_rest():
    reached: list[str] = []
    for work in (held, caught):
        with pytest.raises(Interrupted):
            work(reached)
    assert reached == ["asked: True"] and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_stops_that_are_ignored_or_caught_are_noticed():
    deaf = mutated(
        "invkit.core.signals", ("        if not repeated and not self.deferred:\n            raise _StopError\n", "")
    )
    with deaf.stop_requests():
        signal.raise_signal(signal.SIGTERM)  # nothing happens
    weak = mutated("invkit.core.signals", ("class _StopError(KeyboardInterrupt)", "class _StopError(Exception)"))
    with weak.stop_requests(), suppress(Exception):
        signal.raise_signal(signal.SIGTERM)
    assert issubclass(signals._StopError, KeyboardInterrupt)


def test_the_command_stops_with_75_while_it_starts(tmp_path):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    code = (
        "import os, signal, sys, invkit.cli.run, invkit.cli.main as cli\n"
        "invkit.cli.run.load_recipe = lambda *_: os.kill(os.getpid(), signal.SIGTERM)\n"
        f"cli.main(['run', {str(tmp_path / 'tiny.yaml')!r}, '--out', {str(tmp_path / 'run')!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (75, "") and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def listens(process: subprocess.Popen) -> bool:
    """Whether a process has begun to receive SIGTERM by itself, or has ended; before, Python is still starting."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    except (OSError, StopIteration):
        return True
    return bool(caught >> (signal.SIGTERM - 1) & 1) or process.poll() is not None


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_real_command_ends_with_75_or_0_whenever_it_is_stopped(recipe, tmp_path, figure):
    command = [sys.executable, "-m", "invkit", "run", str(tmp_path / "tiny.yaml"), "--device", "cpu", "--out"]
    start = time.monotonic()
    subprocess.run([*command, str(tmp_path / "undisturbed")], check=True, capture_output=True)
    whole, codes = time.monotonic() - start, []
    for i in range(12):
        process = subprocess.Popen(
            [*command, str(tmp_path / "real")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not listens(process):
            time.sleep(0.01)
        time.sleep(whole * i / 12)
        process.send_signal((signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)[i % 3])
        codes.append(process.wait(300))
    subprocess.run([*command, str(tmp_path / "real")], check=True, capture_output=True)
    failed = [code for code in codes if code not in (0, 75)]
    figure("signals to the real command at any moment: another end than exit code 75 or 0", len(codes), len(failed))
    assert failed == [] and 75 in codes and same(tmp_path / "real", tmp_path / "undisturbed")


def test_a_disk_that_fills_up_during_training_leaves_the_last_checkpoint(recipe, tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def full(handle):
        name = os.readlink(f"/proc/self/fd/{handle}")
        calls.append(name)
        if "staged" in name and sum("manifest" in call for call in calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with raises(OSError, "No space left") as error:
        run(recipe, tmp_path / "run", "cpu")
    assert to_user_error(error.value).exit_code == 6
    monkeypatch.undo()
    assert latest_checkpoint(tmp_path / "run" / "checkpoints").step == 2
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == [
        "step-00000002"
    ]  # the space is given back
    heard = Heard()
    run(recipe, tmp_path / "run", "cpu", listener=heard)
    assert heard.steps == [3, 4]


def test_a_folder_in_use_is_refused_and_a_finished_table_is_still_read(recipe, tmp_path):
    folder = run(recipe, tmp_path / "run", "cpu")
    table = json.loads((folder / "eval" / "table.json").read_text())
    (folder / "eval" / "two").mkdir()
    with locked(folder):
        for fresh in (False, True):
            with raises(RecipeError, folder, os.getpid(), "--out DIR"):
                run(recipe, folder, "cpu", fresh=fresh)
        assert evaluate(folder, device="cpu") == table
        assert evaluate(folder, ["eval.images=1"], device="cpu", name="one")["images"] == 1  # in a folder of its own
        with locked(folder / "eval" / "two"), raises(RecipeError, folder / "eval" / "two", os.getpid()):
            evaluate(folder, ["eval.images=2", "seed=1"], device="cpu", name="two")
    assert json.loads((folder / "eval" / "table.json").read_text()) == table and not (tmp_path / "run.old1").exists()


SECRETIVE = """\
from invkit.api import Degradation, Mask, hookimpl
class Fetched(Degradation):
    url: str = ""
    def sample(self, keys, grid):
        return Mask(keys.uniform("seen", 1, *grid.shape) < 0.5, grid.channels)
@hookimpl
def invkit_degradations():
    return {"fetched": Fetched}
"""


def test_nothing_secret_is_written_down(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("INVKIT_TEST_TOKEN", "hunter3")
    (tmp_path / "fetched.py").write_text(SECRETIVE)
    url = "{name: fetched, url: 'https://me:hunter2@example.org/mask?token=s3cr3t&size=3'}"
    (tmp_path / "url.yaml").write_text(RECIPE.replace("{name: sparse-random}", url))
    found = registry((str(tmp_path / "fetched.py"),))
    for _ in range(2):  # and it goes on as the same recipe
        folder = run(load_recipe(tmp_path / "url.yaml", (), found), tmp_path / "run", "cpu")
    assert "https://example.org/mask?token=&size=3" in (folder / "eval" / "table.json").read_text()
    RunFolder(folder).note("fetched https://me:hunter2@example.org/?token=s3cr3t")
    RunFolder(folder).update_record({"from": "ftp://me:hunter2@example.org/x;sig=s3cr3t"})
    texts = {
        p: p.read_text("utf-8") for p in folder.rglob("*") if p.suffix in {".json", ".yaml", ".txt", ".html", ".csv"}
    }
    assert len(texts) > 8 and "example.org" in texts[folder / "recipe.yaml"] + texts[folder / "log.txt"]
    for word in ("hunter2", "hunter3", "s3cr3t"):
        assert [p.name for p, text in texts.items() if word in text] == []


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("root: https://u:p@h:8/a?X-Amz-Signature=ab&x=1", "root: https://h:8/a?X-Amz-Signature=&x=1"),
        ("'/home/me/https:/u:p@h/a'", "'/home/me/https:/h/a'"),
        ("https://h/a?page=2&AUTH=ab#top", "https://h/a?page=2&AUTH=#top"),
        ("me@example.org C:/x@y lr: 1e-4 a=b&c=d?", "me@example.org C:/x@y lr: 1e-4 a=b&c=d?"),
    ],
)
def test_secrets_leave_addresses_and_nothing_else_changes(text, kept):
    assert without_secrets(text) == kept
