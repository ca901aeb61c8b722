"""The image files of a folder or zip."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

from invkit.data.archive import open_zip, read_entry
from invkit.data.decoding import MAX_BYTES, SUFFIXES, open_file, printable

DATA_SUFFIXES = SUFFIXES | {".npy"}  # of the images of a data set
UNREAD = {
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".exr", ".hdr", ".psd",
    ".svg",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Listing:
    """Names of image files, with stamps that change when a file does, and a function that opens one."""

    stamps: Mapping[str, str]
    size: int  # bytes
    open: Callable[[str], BinaryIO]
    unread: tuple[str, ...] = ()  # names of images of other formats


def _is_image(name: str, suffixes: Collection[str] = SUFFIXES) -> bool:
    parts = name.split("/")
    hidden = any((part.startswith(".") and part.strip(".")) or part == "__MACOSX" for part in parts)
    return not hidden and os.path.splitext(parts[-1])[1].lower() in suffixes


def folder_files(root: Path) -> Listing:
    """The images under a folder by relative path; a stamp is a file's size and time of modification."""
    names, stamps, total = image_names(root, DATA_SUFFIXES), {}, 0
    for name in names:
        try:
            found = (root / name).stat()
        except OSError:  # a dangling link
            stamps[name] = ""
            continue
        stamps[name], total = f"{found.st_size}-{found.st_mtime_ns}", total + found.st_size
    return Listing(stamps, total, lambda name: open_file(root / name), tuple(image_names(root, UNREAD)))


class _ForkSafeFile(RawIOBase):
    """A file with a read position of its own in each process; forked processes share the position of a plain file."""

    def __init__(self, path: Path) -> None:
        self._file, self._position = path.open("rb"), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = (0, self._position, os.fstat(self._file.fileno()).st_size)[whence]
        if origin + offset < 0:
            raise ValueError("a position before the start of the file")
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = os.pread(self._file.fileno(), len(view), self._position)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def zip_files(path: Path) -> Listing:
    """The images in a .zip; a stamp is a file's size and checksum."""
    archive = open_zip(path, BufferedReader(_ForkSafeFile(path)) if hasattr(os, "pread") else None)
    entries = {entry.filename: entry for entry in archive.infolist() if _is_image(entry.filename, DATA_SUFFIXES)}

    def opener(name: str) -> BinaryIO:
        return BytesIO(read_entry(archive, name, MAX_BYTES))

    stamps = {name: f"{entries[name].file_size}-{entries[name].CRC:08x}" for name in sorted(entries)}
    unread = sorted(entry.filename for entry in archive.infolist() if _is_image(entry.filename, UNREAD))
    return Listing(stamps, path.stat().st_size, opener, tuple(unread))


def unread_note(names: Sequence[str]) -> str | None:
    """A note on images of formats that are not read."""
    if not names:
        return None
    kinds = ", ".join(sorted({os.path.splitext(name)[1].lower() for name in names}))
    count = f"{len(names)} file{'s' if len(names) > 1 else ''}"
    return (
        f"{count} of formats that are not read ({kinds}), such as {printable(names[0])}; convert them to .png or .jpg"
    )


def image_names(root: Path, suffixes: Collection[str] = SUFFIXES) -> list[str]:
    """Relative paths of the images under a folder, sorted."""
    found = (Path(at, name).relative_to(root).as_posix() for at, _, names in os.walk(root) for name in names)
    return sorted(name for name in found if _is_image(name, suffixes))
