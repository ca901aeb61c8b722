"""Files that are whole or not there: written beside their place, synced, then renamed."""

import os
from pathlib import Path


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can do that."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder and those it is in, each of whose names is then on the disk."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write or replace a file so that a reader, or a crash, meets the old one or the new one; makes its folder."""
    make_folder(path.parent)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_synced(staged, data.encode() if isinstance(data, str) else data)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    sync_folder(path.parent)
