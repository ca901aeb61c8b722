"""Atomic, synced file writes, and an exclusive lock of a folder."""

import errno
import json
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from invkit.core.errors import RecipeError


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and sync it to disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to disk, on POSIX systems."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, and sync each new entry to disk."""
    if not folder.is_dir():
        make_folder(folder.parent)
        try:
            folder.mkdir(exist_ok=True)
        except FileNotFoundError:  # a file system that is not for files, as /proc
            raise RecipeError(f"{folder}: cannot be created; use another path") from None
        sync_folder(folder.parent)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write or replace a file atomically: a reader, or a crash, finds the old or the new content. Creates its folder."""
    make_folder(path.parent)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_synced(staged, data.encode() if isinstance(data, str) else data)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, atomically; see `write_atomic`."""
    write_atomic(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


NAME = ".lock"
_UNKNOWN = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # errors of file systems without locks


@contextmanager
def locked(folder: Path, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Lock a folder exclusively by `flock` on its file `.lock`; the system releases the lock when the process ends.

    If another process holds the lock, raises RecipeError, naming it; or, with `waiting`, calls that with its name and waits.
    """
    try:
        import fcntl
    except ImportError:  # a system without flock
        yield
        return
    handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 200, 0).decode("utf-8", "replace").strip() or "another process"
            if waiting is None:
                raise RecipeError(
                    f"{folder} is in use by {holder!r}; wait until it ends, stop it, or choose another folder with --out DIR"
                ) from None
            waiting(holder)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise
            warnings.warn(
                f"{folder} cannot be locked ({error.strerror}); make sure that only one process uses it at a time",
                stacklevel=4,
            )
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(handle)
