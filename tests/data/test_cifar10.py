import hashlib
import io
import pickle
import shutil
import struct
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from support.messages import raises

from invkit.core.errors import DataError, ResourceError
from invkit.core.grid import Grid
from invkit.data import cifar10
from invkit.data.cifar10 import Cifar10, from_pickled, obtain

NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
N = 20  # pictures in a file of these tests


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    monkeypatch.setattr(cifar10, "BATCH", N)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def pictures():
    """Batch name -> channels first pictures (N, 3, 32, 32)."""
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (N, 3, 32, 32), np.uint8) for name in NAMES}


def python2_pickle(pixels):
    """What Python 2 wrote: bytes as an 8-bit string."""
    data = pixels.tobytes()
    return (
        b"\x80\x02}(U\x0bbatch_labelU\x15training batch 1 of 5U\x04datacnumpy.core.multiarray\n_reconstruct\n"
        b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K" + bytes([len(pixels)]) + b"M\x00\x0c\x86cnumpy\ndtype\n"
        b"U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<I", len(data)) + data + b"tbU\x06labels](K\x01K\x02eu."
    )  # fmt: skip


def write_python(folder: Path, pictures):
    folder = folder / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, batch in pictures.items():
        (folder / name).write_bytes(python2_pickle(batch.reshape(N, -1)))
    return folder


def write_binary(folder: Path, pictures):
    folder = folder / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, batch in pictures.items():
        labels = np.full((N, 1), 7, np.uint8)
        (folder / f"{name}.bin").write_bytes(np.hstack([labels, batch.reshape(N, -1)]).tobytes())
    return folder


def pack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    return archive


def same_set(images, batches):
    """Whether the opened pictures are those of some batches, each once."""
    expected = torch.from_numpy(np.concatenate(batches)).float() / 127.5 - 1
    order = [int(images.group(i).rpartition("/")[2]) for i in range(len(images))]
    assert sorted(order) == list(range(len(expected)))
    return torch.allclose(images[range(len(images))], expected[order], atol=1e-6)


@pytest.mark.parametrize("write", [write_python, write_binary])
@pytest.mark.parametrize("form", ["outer", "inner", "archive"])
def test_every_local_form_is_read(tmp_path, pictures, write, form):
    folder = write(tmp_path / "here", pictures)
    root = {"outer": folder.parent, "inner": folder, "archive": pack(tmp_path / "c.tar.gz", folder)}[form]
    data = Cifar10(root=str(root))
    assert data.missing() is None
    assert same_set(data.open("train", Grid(32, 32), 0), [pictures[name] for name in NAMES[:5]])
    assert same_set(data.open("test", Grid(32, 32), 0), [pictures["test_batch"]])


def test_the_pickle_walker_agrees_with_pickle_and_runs_nothing(pictures, monkeypatch):
    flat = pictures["test_batch"].reshape(N, -1)
    by_hand = python2_pickle(flat)
    assert np.array_equal(pickle.loads(by_hand, encoding="bytes")[b"data"], flat)  # the hand-made file is a true one
    files = [by_hand]
    for protocol in range(5):
        for array in (flat, np.asfortranarray(flat)):
            files.append(pickle.dumps({"data": array, "labels": [0] * N, "ok": True}, protocol))
    for data in files:
        assert np.array_equal(from_pickled(data), flat)
    ran = []
    evil = b"\x80\x02cbuiltins\nprint\n(U\x04boomtR."
    monkeypatch.setattr("builtins.print", lambda *a: ran.append(a))
    pickle.loads(evil)
    assert ran.pop() == ("boom",)  # loaded as a pickle it runs
    with raises(ValueError, N):
        from_pickled(evil)
    assert ran == []


def test_protocol_5_is_refused_since_it_may_hide_the_order(pictures):
    columns = np.asfortranarray(pictures["test_batch"].reshape(N, -1))
    with raises(ValueError, "protocol 5"):
        from_pickled(pickle.dumps({"data": columns}, 5))


def test_train_order_is_keyed_and_test_order_is_fixed(tmp_path, pictures):
    data = Cifar10(root=str(write_binary(tmp_path, pictures)))

    def order(split, seed, limit=None):
        images = data.open(split, Grid(32, 32), seed, limit)
        return [images.group(i) for i in range(len(images))]

    assert order("train", 0) == order("train", 0) != order("train", 1)
    assert order("train", 0) != [f"train/{i}" for i in range(5 * N)]  # files may be sorted by class
    assert order("test", 0) == order("test", 1)
    assert order("train", 0, 7) == order("train", 0)[:7]


def test_coarser_grids_are_averages_and_finer_ones_are_refused(tmp_path, pictures):
    data = Cifar10(root=str(write_binary(tmp_path, pictures)))
    fine, coarse = (data.open("test", Grid(n, n), 0)[range(N)] for n in (32, 16))
    assert torch.allclose(torch.nn.functional.avg_pool2d(fine, 2), coarse, atol=1e-5)
    with raises(DataError, "32x32", "64x64", "data.name=images"):
        data.open("test", Grid(64, 64), 0)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "data_batch_3.bin").unlink(), ("data_batch_3.bin",)),
        (lambda f: (f / "data_batch_2.bin").write_bytes(b"12"), ("data_batch_2.bin", 2)),
        (lambda f: shutil.rmtree(f), ()),
        (lambda f: [p.unlink() for p in f.iterdir()], ("cifar-10-batches-bin", "cifar-10-batches-py")),
    ],
)
def test_what_is_wrong_with_a_local_copy_is_said(tmp_path, pictures, spoil, said):
    folder = write_binary(tmp_path, pictures)
    spoil(folder)
    with raises(DataError, folder, "data.root=PATH", *said) as error:
        Cifar10(root=str(folder)).open("train", Grid(32, 32), 0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00 cut"])
def test_a_broken_archive_is_a_data_error(tmp_path, content):
    (tmp_path / "c.tar.gz").write_bytes(content)
    with raises(DataError, "c.tar.gz"):
        Cifar10(root=str(tmp_path / "c.tar.gz")).open("train", Grid(32, 32), 0)


def served(server, archive, monkeypatch):
    """Let `Cifar10` fetch an archive from the test's server; returns what it will say."""
    server.body, said = archive.read_bytes(), []
    digest = "md5:" + hashlib.md5(server.body, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(
        cifar10, "obtain", lambda folder: obtain(folder, server.url, digest, len(server.body), said.append, pause=0)
    )
    return said


def test_two_at_once_fetch_it_once(tmp_path, pictures, server, monkeypatch):
    said = served(server, pack(tmp_path / "c.tar.gz", write_binary(tmp_path / "made", pictures)), monkeypatch)
    server.delay = 0.3
    with ThreadPoolExecutor(2) as pool:
        opened = list(pool.map(lambda split: Cifar10().open(split, Grid(32, 32), 0), ("train", "test")))
    assert [len(images) for images in opened] == [5 * N, N] and len(server.ranges) == 1
    assert sum("waiting for " in line for line in said) == 1


def test_a_damaged_cache_says_what_to_do(tmp_path, pictures, server, monkeypatch):
    cache = tmp_path / "cache" / "invkit"
    cache.mkdir(parents=True)
    (cache / "cifar-10-binary.tar.gz").write_bytes(b"damaged on this disk")
    with raises(DataError, "cifar-10-binary.tar.gz"):
        Cifar10().open("test", Grid(32, 32), 0)
    for name, said in (
        ("other", "cifar-10-batches-bin/data_batch_1.bin"),
        ("../escaped", "'../escaped'"),
    ):
        with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
        served(server, tmp_path / "evil.tar.gz", monkeypatch)
        with raises(DataError, "cifar-10-binary.tar.gz", said):
            Cifar10().open("test", Grid(32, 32), 0)
    assert [p.name for p in cache.iterdir()] == [".lock"] and not list(tmp_path.rglob("escaped"))
    (write_binary(cache, pictures) / "test_batch.bin").write_bytes(b"short")
    with raises(DataError, "test_batch.bin", 5, cache / "cifar-10-batches-bin"):
        Cifar10().open("test", Grid(32, 32), 0)


def test_a_cache_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with raises(ResourceError, "XDG_CACHE_HOME"):
        Cifar10().open("test", Grid(32, 32), 0)


def test_it_is_fetched_once_said_beforehand_and_resumed(tmp_path, pictures, server, monkeypatch):
    archive = pack(tmp_path / "c.tar.gz", write_binary(tmp_path / "made", pictures))
    said = served(server, archive, monkeypatch)
    server.cuts = 1
    assert len(server.body) > 300_000  # so that the first answer is cut
    assert Cifar10().missing()
    images = Cifar10().open("test", Grid(32, 32), 0)
    assert same_set(images, [pictures["test_batch"]])
    assert server.url in said[0] and str(tmp_path / "cache") in said[0] and "data.root=PATH" in said[1]
    assert server.ranges == [None, "bytes=300000-"]
    assert Cifar10().missing() is None and len(Cifar10().open("train", Grid(32, 32), 0)) == 5 * N
    assert len(server.ranges) <= 2  # nothing was fetched again
    assert sorted(p.name for p in (tmp_path / "cache" / "invkit").iterdir()) == [".lock", "cifar-10-batches-bin"]


def test_without_a_home_folder_the_way_out_is_told(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless() -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert Cifar10().missing()
    with raises(DataError, "XDG_CACHE_HOME", "data.root=PATH"):
        Cifar10().open("test", Grid(32, 32), 0)
