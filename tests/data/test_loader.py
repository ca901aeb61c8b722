import multiprocessing
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from support.messages import raises

from invkit.core.errors import DataError, ResourceError
from invkit.core.grid import Grid
from invkit.data import file_images
from invkit.data.base import Images
from invkit.data.images import ImageFiles
from invkit.data.listing import _ForkSafeFile
from invkit.data.loader import Feed, resident_bytes

CPU, GRID = torch.device("cpu"), Grid(8, 8)
SIZE = 40 * 3 * 64 * 4  # bytes of 40 pictures


class Numbers(Images):
    """Picture i is i everywhere; who reads is noted, what is broken is said."""

    def __init__(self, broken: int = -1, grid: Grid = GRID, deadly: int = -1) -> None:
        self.grid, self.broken, self.deadly, self.asked = grid, broken, deadly, []

    def __len__(self):
        return 40

    def __getitem__(self, ids):
        self.asked += ids
        if self.broken in ids:
            raise DataError(f"picture {self.broken} is broken")
        if self.deadly in ids:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.tensor(ids).view(-1, 1, 1, 1).expand(-1, *self.grid.picture).float()

    def group(self, image_id):
        return str(image_id)


def plan(count=100, grid=GRID):
    return [(grid, [(3 * i + j) % 40 for j in range(3)]) for i in range(count)]


def readers():
    return len(multiprocessing.active_children())


def taken(feed, keys):
    return [feed.take(grid, ids)[:, 0, 0, 0].tolist() for grid, ids in keys]


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_asked_comes_in_order(workers):
    images, keys = Numbers(), plan()
    feed = Feed({GRID: images}, CPU, workers, lambda: iter(keys))
    assert taken(feed, keys[:20]) == [ids for _, ids in keys[:20]]
    assert readers() == workers and (workers == 0) == (images.asked != [])
    feed.close()
    assert readers() == 0


def test_another_wish_is_fulfilled_and_the_plan_made_anew():
    keys, place = plan(), [0]
    feed = Feed({GRID: Numbers()}, CPU, 1, lambda: iter(keys[place[0] :]))
    assert taken(feed, keys[:2]) == [ids for _, ids in keys[:2]]
    place[0] = 50  # as after a checkpoint was restored
    assert taken(feed, keys[50:55]) == [ids for _, ids in keys[50:55]]
    assert taken(feed, [(GRID, [7])]) == [[7]]  # in no plan
    assert taken(feed, keys[50:55]) == [ids for _, ids in keys[50:55]]
    place[0] = 98
    assert taken(feed, keys[98:]) == [ids for _, ids in keys[98:]] and taken(feed, keys[:1]) == [keys[0][1]]
    feed.close()


def test_errors_come_through_and_a_killed_reader_is_told():
    feed = Feed({GRID: Numbers(broken=4)}, CPU, 2, lambda: iter(plan()))
    assert taken(feed, plan()[:1]) == [[0, 1, 2]]
    with pytest.raises(DataError, match=r"^picture 4 is broken$"):
        taken(feed, plan()[1:2])
    feed.close()
    feed = Feed({GRID: Numbers(deadly=4)}, CPU, 1, lambda: iter(plan()))
    with raises(ResourceError, "train.workers"):
        taken(feed, plan()[:3])
    feed.close()


def test_what_fits_is_read_once_and_never_before_it_is_asked():
    images, finer = Numbers(), Numbers(grid=Grid(16, 16))
    feed = Feed({GRID: images, finer.grid: finer}, CPU, 0, limit=SIZE)
    assert taken(feed, [(GRID, [3, 1, 3]), (GRID, [1, 2]), (GRID, [2, 3])]) == [[3, 1, 3], [1, 2], [2, 3]]
    assert images.asked == [3, 1, 2]
    taken(feed, [(finer.grid, [5]), (finer.grid, [5])])
    assert finer.asked == [5, 5]  # there was no room for these
    short = Feed({GRID: (images := Numbers())}, CPU, 0, limit=SIZE - 1)
    taken(short, [(GRID, [3]), (GRID, [3])])
    assert images.asked == [3, 3]
    assert resident_bytes(CPU) == 0


def test_what_is_resident_is_not_read_ahead():
    coarse, fine = Numbers(), Numbers(grid=Grid(16, 16))
    keys = [key for pair in zip(plan(20), plan(20, fine.grid), strict=True) for key in pair]
    feed = Feed({GRID: coarse, fine.grid: fine}, CPU, 1, lambda: iter(keys), limit=SIZE)
    assert taken(feed, keys) == [ids for _, ids in keys]
    assert coarse.asked and not fine.asked
    feed.close()


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same pictures in a folder, a zip and an npz."""
    root = tmp_path_factory.mktemp("pictures")
    pixels = np.random.default_rng(0).integers(0, 256, (24, 10, 12, 3), np.uint8)
    for i, picture in enumerate(pixels):
        place = root / "set" / ("train" if i < 20 else "val") / f"n{i % 3:02d}" / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place)
    with zipfile.ZipFile(root / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for place in sorted((root / "set").rglob("*.png")):
            archive.write(place, place.relative_to(root / "set"))
    np.savez(root / "set.npz", images=pixels)
    return root


@pytest.mark.parametrize("source", ["set", "set.zip", "set.npz"])
@pytest.mark.parametrize("kept", [True, False])
def test_read_by_two_processes_the_pictures_are_the_same_bits(sources, source, kept, monkeypatch):
    monkeypatch.setattr(file_images, "IN_MEMORY", 1 << 30 if kept else 0)
    opened = ImageFiles(root=str(sources / source)).open("train", GRID, 0)
    n = len(opened)
    keys = [(GRID, [(5 * i + j) % n for j in range(5)]) for i in range(24)]
    feed = Feed({GRID: opened}, CPU, 2, lambda: iter(keys))
    for grid, ids in keys:
        assert torch.equal(feed.take(grid, ids), opened[ids])
    assert readers() == 2
    feed.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_forked_readers_of_one_file_do_not_meet(tmp_path):
    """A plain file has one place for all of them."""
    (tmp_path / "some").write_bytes(b"0123456789")

    def after_a_fork(file):
        first = file.read(2)
        if not (child := os.fork()):
            file.seek(0, os.SEEK_END)
            os._exit(0)
        os.waitpid(child, 0)
        return first + file.read(2)

    assert after_a_fork(_ForkSafeFile(tmp_path / "some")) == b"0123"
    assert after_a_fork((tmp_path / "some").open("rb", buffering=0)) == b"01"


HELD = """
import os, signal, sys, time, torch
from invkit.data.loader import Feed, resident_bytes
from invkit.core.grid import Grid
class Numbers:
    def __len__(self): return 10
    def __getitem__(self, ids):
        return torch.zeros(len(ids), 3, 8, 8)
feed = Feed({Grid(8, 8): Numbers()}, torch.device("cpu"), 2, lambda: ((Grid(8, 8), [0]) for _ in iter(int, 1)))
for _ in range(2):  # one by each reader
    feed.take(Grid(8, 8), [0])
import multiprocessing
print(*[p.pid for p in multiprocessing.active_children()], flush=True)
"""


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")")[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc who is alive")
@pytest.mark.parametrize("end", ["time.sleep(60)", "raise KeyError('lost')"])
def test_readers_ignore_signals_and_end_with_their_parent(end):
    """Killed, or ended by an error that still holds the feed."""
    process = subprocess.Popen([sys.executable, "-c", HELD + end], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    if "sleep" in end:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            for pid in pids:
                os.kill(pid, number)
        time.sleep(0.5)
        assert all(map(alive, pids))
        process.kill()
    process.wait(60)
    until = time.monotonic() + 40
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(alive, pids))
