"""A failing disk: records the file operations of a save, fails at one of them, and loses data that was not synced."""

import builtins
import errno
import importlib
import io
import os
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

Operation = tuple[str, ...]  # name, and the path (two for a rename) relative to the root of the disk


class Crash(BaseException):
    """A crash of the machine: a BaseException, so that no clean-up code handles it."""


class Disk:
    """Records the operations under a folder, and raises `error` at operation `at`, from 0; after a `Crash` at every later one.

    `done` lists the completed operations; `contents` maps the index of each sync in `done` to the bytes of its file.
    """

    def __init__(self, root: Path, at: int = -1, error: BaseException | None = None) -> None:
        self.root, self.at, self.error = root, at, error
        self.done: list[Operation] = []
        self.contents: dict[int, bytes] = {}
        self.dead = False
        self._folders: dict[int, str] = {}  # descriptors of folders and files -> their path

    def relative(self, path: object) -> str | None:
        text = os.path.abspath(os.fspath(path))  # type: ignore[call-overload]
        root = str(self.root)
        return os.path.relpath(text, root) if text == root or text.startswith(root + os.sep) else None

    def happens(self, what: str, *paths: str) -> None:
        """Record an operation before it takes place; raises if it is the one to fail."""
        if self.dead:
            raise Crash
        if len(self.done) == self.at:
            self.at = -1
            self.dead = isinstance(self.error, Crash)
            assert self.error is not None
            raise self.error
        self.done.append((what, *paths))

    def keep(self, path: str) -> None:
        self.contents[len(self.done) - 1] = (self.root / path).read_bytes()

    def forgets(self, share: float | None = None) -> dict[str, bytes | None]:
        """The state after a restart: files with their bytes, folders with None. Bytes that were not synced are lost.

        Without `share` a name exists only if its folder was synced after its creation. With it the operations on names
        survive in order, as with a journal: all up to the last sync of a folder, and a share of those after it.
        """
        durable = {
            j
            for i, (what, *paths) in enumerate(self.done) if what == "syncdir"
            for j in range(i) if self._names(j, paths[0])
        }  # fmt: skip
        if share is not None:
            first = max(durable, default=-1) + 1
            durable = set(range(first + round(share * (len(self.done) - first))))
        synced: dict[int, bytes] = {}  # by identity of the file
        identity: dict[str, int] = {}  # while the operations run
        found: dict[str, tuple[int, bool]] = {}  # after the durable operations
        for i, (what, *paths) in enumerate(self.done):
            tables: list[dict] = [identity, *([found] if i in durable else [])]
            if what == "sync":
                synced[identity[paths[0]]] = self.contents[i]
            elif what in ("create", "mkdir"):
                identity[paths[0]] = i
                if i in durable:
                    found[paths[0]] = (i, what == "mkdir")
            elif what == "rename":
                for table in tables:
                    _move(table, *paths)
            elif what in ("unlink", "rmdir"):
                for table in tables:
                    table.pop(paths[0], None)
        return {path: None if folder else synced.get(i, b"") for path, (i, folder) in found.items()}

    def _names(self, i: int, folder: str) -> bool:
        """Whether an operation changes the names in a folder."""
        what, *paths = self.done[i]
        changes = what in ("create", "mkdir", "rename", "unlink", "rmdir")
        return changes and any((os.path.dirname(path) or ".") == folder for path in paths)

    @contextmanager
    def watching(self) -> Iterator["Disk"]:
        """Record the operations of `os` and `open` in this block."""
        real = {name: getattr(os, name) for name in ("fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "open")}
        opened = io.open

        def one(name: str, what: str) -> Callable[..., object]:
            def call(path: object, *rest: object, dir_fd: int | None = None, **options: object) -> object:
                if dir_fd is not None:  # as shutil.rmtree walks
                    inside = f"{self._folders[dir_fd]}/{path}" if dir_fd in self._folders else None
                    options["dir_fd"] = dir_fd
                else:
                    inside = self.relative(path)
                if inside is not None:
                    self.happens(what, inside)
                return real[name](path, *rest, **options)

            return call

        def rename(a: object, b: object, **options: object) -> None:
            if (x := self.relative(a)) is not None and (y := self.relative(b)) is not None:
                self.happens("rename", x, y)
            real["rename"](a, b, **options)

        def fsync(handle: int) -> None:
            path = self._folders.get(handle) or self.relative(os.readlink(f"/proc/self/fd/{handle}"))
            if path is not None:
                folder = (self.root / path).is_dir()
                self.happens("syncdir" if folder else "sync", path)
                if not folder:
                    self.keep(path)
            real["fsync"](handle)

        def open_handle(path: object, flags: int, *rest: object, dir_fd: int | None = None, **options: object) -> int:
            handle = real["open"](path, flags, *rest, dir_fd=dir_fd, **options)
            inside = f"{self._folders.get(dir_fd)}/{path}" if dir_fd in self._folders else self.relative(path)
            if inside is not None and not self.dead:
                self._folders[handle] = inside
            else:
                self._folders.pop(handle, None)
            return handle

        def open_file(file: object, mode: str = "r", *rest: object, **options: object) -> object:
            inside = self.relative(file) if not isinstance(file, int) else None
            if inside is None or "r" in mode:
                return opened(file, mode, *rest, **options)  # type: ignore[call-overload]
            self.happens("create", inside)
            stream = opened(file, mode, *rest, **options)  # type: ignore[call-overload]
            self._folders.pop(stream.fileno(), None)
            return _Watched(stream, self, inside)

        with (
            patch.multiple(
                os, fsync=fsync, rename=rename, replace=rename, open=open_handle,
                mkdir=one("mkdir", "mkdir"), unlink=one("unlink", "unlink"), rmdir=one("rmdir", "rmdir"),
            ),
            patch.object(io, "open", open_file),
            patch.object(builtins, "open", open_file),
        ):  # fmt: skip
            yield self


class _Watched:
    """A writable file whose operations are recorded."""

    def __init__(self, stream, disk: Disk, path: str) -> None:
        self.stream, self.disk, self.path = stream, disk, path

    def write(self, data: bytes) -> int:
        self.disk.happens("write", self.path)
        return self.stream.write(data)

    def flush(self) -> None:
        self.disk.happens("flush", self.path)
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()

    def __enter__(self) -> "_Watched":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()


def _move(table: dict, a: str, b: str) -> None:
    for path in [p for p in table if p == b or p.startswith(b + "/")]:
        del table[path]
    for path in [p for p in table if p == a or p.startswith(a + "/")]:
        table[b + path.removeprefix(a)] = table.pop(path)


def lay_down(found: dict[str, bytes | None], root: Path) -> None:
    """Write the state after a restart to a folder."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for path, data in sorted(found.items()):
        place = root / path
        if not place.parent.is_dir():  # in a folder whose own name was lost
            continue
        place.mkdir(exist_ok=True) if data is None else place.write_bytes(data)


def mutated(module: str, *changes: tuple[str, str]) -> types.ModuleType:
    """A copy of a module with parts of its source replaced; fails if a part does not occur."""
    text = Path(str(importlib.import_module(module).__file__)).read_text("utf-8")
    for old, new in changes:
        assert old in text, f"{module} has no longer {old!r}"
        text = text.replace(old, new)
    made = types.ModuleType(f"mutant_of_{module.replace('.', '_')}")
    sys.modules[made.__name__] = made  # where dataclasses look
    exec(compile(text, made.__name__, "exec"), made.__dict__)
    return made


ERRORS = [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EACCES]
