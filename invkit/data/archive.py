"""Reading untrusted archives and arrays with bounded memory; nothing is unpacked to disk.

Rejected with a ValueError of one line: entries with absolute paths or `..`, links and devices, archives that inflate to
far more than their size, arrays that are pickled or whose header does not match their size.
"""

import io
import math
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

ENTRIES = 4 << 20
RATIO = 100  # bytes read per byte of the archive, beyond the first `FREE`
FREE = 1 << 30
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


def check_name(name: str) -> None:
    """Raises ValueError for a path that is absolute or contains `..`."""
    parts = name.replace("\\", "/").split("/")
    if name[:1] in ("/", "\\") or ".." in parts or name[1:2] == ":" or "\0" in name:
        raise ValueError(f"the name {name[:80]!r} leads out of the archive")


def _max_size(path: Path) -> int:
    """Number of bytes that the entries of an archive may have in total."""
    return FREE + RATIO * path.stat().st_size


def open_zip(path: Path, stream: IO[bytes] | None = None) -> zipfile.ZipFile:
    """Open a .zip, from `stream` if given, and check its entries.

    Raises ValueError, or the errors of `zipfile`.
    """
    archive = zipfile.ZipFile(stream or path)
    entries = archive.infolist()
    if len(entries) > ENTRIES:
        raise ValueError(f"{len(entries)} entries are too many")
    for entry in entries:
        check_name(entry.filename)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"{entry.filename[:80]!r} is a link or a device")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others are not bounded
            raise ValueError(f"{entry.filename[:80]!r} is compressed by another method than deflate")
    if sum(entry.compress_size for entry in entries) > path.stat().st_size:
        raise ValueError("its entries overlap")
    if sum(entry.file_size for entry in entries) > _max_size(path):
        raise ValueError(f"its entries claim more than {RATIO} times its size")
    return archive


def read_entry(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The bytes of an entry; raises ValueError if there are more than `most`."""
    with archive.open(name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"larger than {most >> 20} MiB")
    return data


class _Bounded(io.RawIOBase):
    """A stream that raises ValueError after `left` bytes; the sizes stated in a .tar are not reliable."""

    def __init__(self, stream: IO[bytes] | io.BufferedIOBase, left: int) -> None:
        self.stream, self.left = stream, left

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(min(size, self.left + 1) if size >= 0 else self.left + 1)
        self.left -= len(data)
        if self.left < 0:
            raise ValueError("it inflates to far more than expected")
        return data


def read_members(path: Path, wanted: Collection[str], most: int, total: int) -> dict[str, bytes]:
    """The `wanted` files of a .tar.gz, by path, each of at most `most` bytes; at most `total` bytes are decompressed."""
    import gzip

    found: dict[str, bytes] = {}
    with gzip.open(path) as stream, tarfile.open(fileobj=_Bounded(stream, total), mode="r|") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            check_name(name)
            if not member.isreg() and not member.isdir():
                raise ValueError(f"{name[:80]!r} is a link or a device")
            if member.size > most:
                raise ValueError(f"{name[:80]!r} claims {member.size} bytes")
            if name in wanted and member.isreg() and (file := tar.extractfile(member)):
                found[name] = file.read()
                if len(found) == len(wanted):
                    break
    return found


def read_npy(file: Any, size: int) -> NDArray[Any]:
    """Read the array of an .npy of `size` bytes; the header is checked before memory is allocated."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in readers:
        raise ValueError(f"npy version {version} is not supported")
    try:
        shape, columns_first, dtype = readers[version](file)
    except Exception as error:  # NumPy parses the header as a Python literal, which raises many types
        raise ValueError(f"its header cannot be read ({type(error).__name__})") from None
    if dtype.hasobject or dtype.fields is not None:
        raise ValueError("it holds Python objects, which are never loaded" if dtype.hasobject else "it holds records")
    count = math.prod(map(int, shape))
    if any(n < 0 for n in shape) or count * dtype.itemsize != size - file.tell():
        raise ValueError(f"its header claims {dtype} {shape}, which does not match its size")
    array = np.frombuffer(file.read(size), dtype, count)
    return array.reshape(shape[::-1]).T if columns_first else array.reshape(shape)


def read_npz(path: Path, name: str) -> NDArray[Any]:
    """Read an array of an .npz; raises KeyError, with the names in the file, if there is none of that name."""
    with open_zip(path) as archive:
        return npz_array(archive, name)


def npz_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Like `read_npz`, for an .npz that is already open."""
    names = archive.namelist()
    if f"{name}.npy" not in names:
        raise KeyError(", ".join(n.removesuffix(".npy") for n in names) or "nothing")
    with archive.open(f"{name}.npy") as file:
        return read_npy(file, archive.getinfo(f"{name}.npy").file_size)
