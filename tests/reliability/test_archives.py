"""Archives and arrays of strangers: nothing is written outside, nothing runs, and the answer is one line."""

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.faults import mutated
from support.messages import raises

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data import archive, cifar10
from invkit.data.cifar10 import Cifar10
from invkit.data.images import ImageFiles

GRID = Grid(8, 8)
STREAM = io.BytesIO()
Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(STREAM, "PNG")
PICTURE = STREAM.getvalue()
BATCH = "cifar-10-batches-bin/data_batch_1.bin"


class Boom:
    def __reduce__(self):
        return os.system, ("touch executed",)


def zipped(*names: str, mode: int = 0, data: bytes = PICTURE, how: int = zipfile.ZIP_STORED) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", how) as made:
            for i in range(3):
                made.writestr(f"{i}.png", PICTURE)
            for name in names:
                info = zipfile.ZipInfo(name)
                info.external_attr, info.compress_type = mode << 16, how
                made.writestr(info, data)

    return make


def patched(old: bytes, new: bytes, make: Callable[[Path], None]) -> Callable[[Path], None]:
    """An archive some bytes of which are others."""

    def made(path: Path) -> None:
        make(path)
        data = path.read_bytes()
        assert old in data and len(old) == len(new)
        path.write_bytes(data.replace(old, new))

    return made


def overlapping(path: Path) -> None:
    """Many entries of a central directory that all point to one (Fifield 2019)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("0.png", os.urandom(4000))
        for i in range(1, 200):
            info = zipfile.ZipInfo(f"{i}.png")
            first = made.infolist()[0]
            for key in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(info, key, getattr(first, key))
            made.filelist.append(info)


def claiming(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("0.png", PICTURE)
            made.writestr("1.png", PICTURE)
            made.infolist()[1].file_size = size

    return make


def tarred(*members: tuple[str, bytes, str, int], tail: bytes = b"") -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with tarfile.open(path, "w:gz") as made:
            for name, kind, target, size in members:
                info = tarfile.TarInfo(name)
                info.type, info.linkname, info.size = kind, target, size if kind == tarfile.REGTYPE else 0
                made.addfile(info, io.BytesIO(bytes(min(size, 100))) if size <= 100 else None)
            made.fileobj.write(tail)

    return make


def inflating(path: Path) -> None:
    """A header that claims a gigabyte, which gzip makes out of nothing."""
    with gzip.open(path, "wb", 1) as made:
        info = tarfile.TarInfo("x")
        info.type, info.size = tarfile.XHDTYPE, 1 << 30
        made.write(info.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(20):
            made.write(bytes(1 << 20))


def an_array(
    header: str, body: bytes = bytes(600), version: bytes = b"\1\0", name: str = "images.npy"
) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        text = header.encode() + b"\n"
        length = struct.pack("<H" if version == b"\1\0" else "<I", len(text))
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr(name, b"\x93NUMPY" + version + length + text + body)

    return make


def header(descr: str = "'|u1'", shape: str = "(3, 8, 8, 3)", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


def a_pickled_array(path: Path) -> None:
    np.savez(path, images=np.array([Boom(), Boom()], object))


REG, SYM, LNK, CHR, BLK, FIFO = (
    tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
)  # fmt: skip
HOSTILE: dict[str, Callable[[Path], None]] = {
    "up.zip": zipped("../escaped.png"),
    "up within.zip": zipped("a/../../escaped.png"),
    "absolute.zip": zipped("/escaped.png"),
    "drive.zip": zipped("C:/escaped.png"),
    "backslash.zip": zipped("..\\escaped.png"),
    "share.zip": zipped("\\\\host\\escaped.png"),
    "link.zip": zipped("link.png", mode=0o120777, data=b"/etc/passwd"),
    "device.zip": zipped("device.png", mode=0o020666),
    "pipe.zip": zipped("pipe.png", mode=0o010666),
    "bzip2.zip": zipped("bomb.png", how=zipfile.ZIP_BZIP2, data=bytes(1 << 20)),
    "lzma.zip": zipped("bomb.png", how=zipfile.ZIP_LZMA, data=bytes(1 << 20)),
    "unknown method.zip": patched(b"\x50\x4b\x01\x02\x14\x03\x14\0\0\0\0\0", b"\x50\x4b\x01\x02\x14\x03\x14\0\0\0\x63\0", zipped()),
    "overlap.zip": overlapping,
    "claims a terabyte.zip": claiming(1 << 40),
    "empty.zip": lambda path: path.write_bytes(b""),
    "cut.zip": lambda path: (zipped()(path), path.write_bytes(path.read_bytes()[:-30])),
    "no zip.zip": lambda path: path.write_bytes(pickle.dumps(Boom())),
    "up.tar.gz": tarred(("../escaped", REG, "", 3)),
    "up within.tar.gz": tarred(("cifar-10-batches-bin/../../escaped", REG, "", 3)),
    "absolute.tar.gz": tarred(("/escaped", REG, "", 3)),
    "link.tar.gz": tarred((BATCH, SYM, "/etc/passwd", 0)),
    "hard link.tar.gz": tarred((BATCH, LNK, "../../etc/passwd", 0)),
    "link to a folder.tar.gz": tarred(("cifar-10-batches-bin", SYM, "/tmp", 0), (BATCH, REG, "", 3)),
    "character device.tar.gz": tarred((BATCH, CHR, "", 0)),
    "block device.tar.gz": tarred((BATCH, BLK, "", 0)),
    "pipe.tar.gz": tarred((BATCH, FIFO, "", 0)),
    "claims a terabyte.tar.gz": tarred((BATCH, REG, "", 1 << 40)),
    "inflates.tar.gz": inflating,
    "wrong size.tar.gz": tarred((BATCH, REG, "", 3)),
    "empty.tar.gz": lambda path: path.write_bytes(b""),
    "no tar.tar.gz": lambda path: path.write_bytes(gzip.compress(pickle.dumps(Boom()))),
    "a cut stream.tar.gz": lambda path: path.write_bytes(gzip.compress(os.urandom(9000))[:5000]),
    "pickled.npz": a_pickled_array,
    "claims a terabyte.npz": an_array(header(shape="(1000000, 1024, 1024, 1)")),
    "negative.npz": an_array(header(shape="(-3, -8, 8, 3)")),
    "many digits.npz": an_array(header(shape="(" + "9" * 5000 + ",)")),
    "records.npz": an_array(header(descr="[('a', '|u1'), ('b', '|u1')]")),
    "code.npz": an_array("__import__('os').system('touch executed')"),
    "deep.npz": an_array("[" * 8000),
    "a long header.npz": an_array(header() + " " * 60_000),
    "version 9.npz": an_array(header(), version=b"\x09\0"),
    "outside.npz": an_array(header(), name="../images.npy"),
    "another name.npz": an_array(header(), name="evil.npy"),
    "no zip.npz": lambda path: path.write_bytes(pickle.dumps(Boom())),
}  # fmt: skip


def said(read: Callable[[], object]) -> str:
    try:
        read()
    except Exception as error:
        return str(error)
    return "nothing"


def opened(path: Path) -> None:
    if path.name.endswith(".tar.gz"):
        Cifar10(root=str(path)).open("train", Grid(32, 32), 0)
    else:
        images = ImageFiles(root=str(path)).open("train", GRID, 0)
        assert len(images)


def wrong(name: str, folder: Path) -> str:
    """How a hostile archive is taken; nothing, where it is refused in one line and nothing is written."""
    folder.mkdir(parents=True)
    HOSTILE[name](folder / name)
    try:
        opened(folder / name)
    except DataError as error:
        said = str(error)
    except BaseException as error:
        return f"{name}: {error!r}"
    else:
        return f"{name}: it was taken"
    return (
        ""
        if "\n" not in said and len(said) < 900 and [p.name for p in folder.iterdir()] == [name]
        else f"{name}: {said}"
    )


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    monkeypatch.setattr(cifar10, "_TOTAL", 8 << 20)


def test_hostile_archives_are_refused_in_one_line_and_write_nothing(tmp_path, figure):
    failed = [said for i, name in enumerate(HOSTILE) if (said := wrong(name, tmp_path / "deep" / str(i)))]
    figure(
        "hostile archives: taken, written outside, executed, or answered with more than one line",
        len(HOSTILE),
        len(failed),
    )
    assert failed == [] and len(HOSTILE) >= 40
    assert not list(tmp_path.rglob("*escaped*")) and not list(tmp_path.rglob("executed"))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("up.zip", "        check_name(entry.filename)\n", ""),
        ("link.zip", "kind not in (0, stat.S_IFREG, stat.S_IFDIR)", "False"),
        ("lzma.zip", "entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)", "False"),
        ("overlap.zip", "sum(entry.compress_size for entry in entries) > path.stat().st_size", "False"),
        ("claims a terabyte.zip", "sum(entry.file_size for entry in entries) > _max_size(path)", "False"),
    ],
)
def test_a_zip_without_one_of_its_guards_is_opened(tmp_path, name, old, new):
    HOSTILE[name](tmp_path / name)
    mutated("invkit.data.archive", (old, new)).open_zip(tmp_path / name)
    with raises(ValueError):
        archive.open_zip(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("up.tar.gz", "            check_name(name)\n", ""),
        ("link.tar.gz", "if not member.isreg() and not member.isdir()", "if False"),
        ("claims a terabyte.tar.gz", "if member.size > most", "if False"),
        ("inflates.tar.gz", "if self.left < 0", "if False"),
    ],
)
def test_a_tar_without_one_of_its_guards_is_read_further(tmp_path, name, old, new):
    HOSTILE[name](tmp_path / name)
    with raises(ValueError) as sound:
        archive.read_members(tmp_path / name, {BATCH}, 64 << 20, 8 << 20)
    mutant = mutated("invkit.data.archive", (old, new))
    assert said(lambda: mutant.read_members(tmp_path / name, {BATCH}, 64 << 20, 8 << 20)) != str(sound.value)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("claims a terabyte.npz", "count * dtype.itemsize != size - file.tell()", "False"),
        ("pickled.npz", "dtype.hasobject or", "False or"),
    ],
)
def test_an_array_without_one_of_its_guards_is_read_further(tmp_path, name, old, new):
    HOSTILE[name](tmp_path / name)
    with raises(ValueError) as sound:
        archive.read_npz(tmp_path / name, "images")
    mutant = mutated("invkit.data.archive", (old, new))
    assert said(lambda: mutant.read_npz(tmp_path / name, "images")) != str(sound.value)


def test_sound_arrays_and_archives_are_read(tmp_path):
    rng = np.random.default_rng(0)
    for order in "CF":
        array = np.asarray(rng.integers(0, 256, (4, 8, 8, 3), np.uint8), order=order)
        np.savez_compressed(tmp_path / "a.npz", images=array, other=np.zeros(2))
        assert np.array_equal(archive.read_npz(tmp_path / "a.npz", "images"), array)
    zipped("a/./b.png", "ä.png", "..c..png")(tmp_path / "b.zip")
    assert len(archive.open_zip(tmp_path / "b.zip").namelist()) == 6
    tarred(("./x", REG, "", 5), ("d", tarfile.DIRTYPE, "", 0), ("y", REG, "", 7))(tmp_path / "c.tar.gz")
    assert archive.read_members(tmp_path / "c.tar.gz", {"x", "y"}, 7, 1 << 20) == {"x": bytes(5), "y": bytes(7)}
