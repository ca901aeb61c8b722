"""Processes that are killed at any moment lose nothing that they said they had saved, and no two of them share a folder."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support import ROOT
from support.counts import tiers
from support.faults import mutated
from support.messages import raises, warns
from support.runs import go, same, weights

from invkit.core import files as lock
from invkit.core.errors import RecipeError
from invkit.training.checkpoint import latest_checkpoint

SAVER = ROOT / "tests" / "support" / "saver.py"
HOLDER = """\
import sys, time
from pathlib import Path
from invkit.core.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@tiers("kills")
def test_killed_at_any_moment_no_acknowledged_save_is_missing(tmp_path, count, figure, recwarn):
    rng, failed, acknowledged = random.Random(3), [], 0
    for i in range(count):
        process = subprocess.Popen([sys.executable, SAVER, tmp_path], stdout=subprocess.PIPE, text=True)
        resumed = int(process.stdout.readline())
        if resumed < acknowledged:
            failed.append(f"kill {i}: {acknowledged} was said to be saved, {resumed} was found")
        for _ in range(rng.randrange(1, 4)):
            process.stdout.readline()
        time.sleep(rng.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        acknowledged = max(map(int, process.stdout.read().split()), default=resumed)  # what it had still said
        process.wait()
        found = latest_checkpoint(tmp_path)
        if found is None or found.step < acknowledged or set(found.tensors["weights"]["a"].tolist()) != {found.step}:
            failed.append(f"kill {i}: {acknowledged} was said to be saved")
    failed += [str(w.message) for w in recwarn.list if "step-" in str(w.message)]
    figure("real SIGKILLs of a saving process: acknowledged saves missing, checkpoints damaged", count, len(failed))
    assert failed == []


def test_a_real_run_that_is_killed_goes_on_bit_for_bit(recipe):
    command = [sys.executable, "-m", "invkit", "run", recipe, "train.steps=20", "--device", "cpu", "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    folder, until = recipe.parent / "killed", time.monotonic() + 300
    process = subprocess.Popen(
        [*command, folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    while not list(folder.glob("checkpoints/step-*")) and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL and latest_checkpoint(folder / "checkpoints").step < 20
    subprocess.run([*command, folder], check=True, capture_output=True, env=environment, timeout=600)
    assert same(weights(go(recipe, "train.steps=20")), weights(folder))


def holder(folder: Path) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, folder], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
def test_a_folder_is_one_process_only_until_it_dies(tmp_path, figure):
    process = holder(tmp_path)
    try:
        with raises(RecipeError, process.pid, "--out DIR") as error, lock.locked(tmp_path):
            pass
        assert "\n" not in str(error.value) and error.value.exit_code == 2
        unlocked = mutated("invkit.core.files", ("fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass"))
        with unlocked.locked(tmp_path):  # the mutant lets both in
            pass
    finally:
        process.kill()
        process.wait()
    with lock.locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()
        with raises(RecipeError, tmp_path, os.getpid(), "--out DIR"), lock.locked(tmp_path):  # also within one process
            pass
    with lock.locked(tmp_path):
        pass


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path):
    (tmp_path / "precious").write_text("thesis")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "precious")
    with raises(OSError, ".lock"), lock.locked(tmp_path / "run"):
        pass
    assert (tmp_path / "precious").read_text() == "thesis"


def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch):
    import errno
    import fcntl

    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with warns(tmp_path, "No locks available"), lock.locked(tmp_path):
        pass
