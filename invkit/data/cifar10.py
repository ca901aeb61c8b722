"""CIFAR-10 (Krizhevsky 2009), from local files or downloaded once.

Both published formats are read: `cifar-10-batches-bin` (a record is a label byte and 3072 pixel bytes) and
`cifar-10-batches-py`, which torchvision uses. The latter are pickles, which are not unpickled: the byte string of the
pixels is extracted by parsing the opcodes, without executing them.
"""

import os
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from invkit.core.errors import DataError, ResourceError
from invkit.core.files import locked, write_atomic
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.core.settings import PathSetting
from invkit.data.archive import UNREADABLE, read_members
from invkit.data.arrays import ArrayImages
from invkit.data.base import Dataset, Images, Split
from invkit.data.download import fetch, say_on_stderr
from invkit.data.resampling import enlarges

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
DIGEST = "md5:c32a1d4ab5d03f1284b67883e8d87530"
SIZE = 170_052_171
BATCH = 10_000  # images per file
VALUES = 3 * 32 * 32  # bytes per image
WAY_OUT = "set data.root=PATH to a copy that you have (its folder or .tar.gz), or data.name=images or photos"
Reader = Callable[[str], bytes]


def batch_names(split: Split) -> list[str]:
    return [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]


def from_binary(data: bytes) -> NDArray[np.uint8]:
    """Pixels `(BATCH, 3072)` of a batch file of the binary version."""
    if len(data) != BATCH * (VALUES + 1):
        raise ValueError(f"{len(data)} bytes instead of {BATCH * (VALUES + 1)}")
    return np.frombuffer(data, np.uint8).reshape(BATCH, VALUES + 1)[:, 1:]


def from_pickled(data: bytes) -> NDArray[np.uint8]:
    """Pixels `(BATCH, 3072)` of a batch file of the Python version, without unpickling it."""
    flags = {"NEWTRUE": True, "NEWFALSE": False, "INT": False}  # the state of a pickled array holds its memory order
    columns_first = False
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "PROTO" and argument is not None and argument > 4:
            raise ValueError(f"pickle protocol {argument} is not supported; save it with protocol 4")
        if opcode.name in flags:
            columns_first = argument is True or flags[opcode.name]
        elif isinstance(argument, str | bytes | bytearray) and len(argument) == BATCH * VALUES:
            # Pickles of Python 2 and of protocol 2 store bytes as a Latin-1 string.
            pixels = np.frombuffer(argument.encode("latin-1") if isinstance(argument, str) else argument, np.uint8)
            return pixels.reshape(VALUES, BATCH).T if columns_first else pixels.reshape(BATCH, VALUES)
    raise ValueError(f"it holds no array of {BATCH} images")


FORMS = {"cifar-10-batches-bin": (".bin", from_binary), "cifar-10-batches-py": ("", from_pickled)}
_LARGEST = 64 << 20  # bytes of a batch file: twice the size of the largest
_TOTAL = 512 << 20  # bytes of a whole archive: likewise


def members(form: str, splits: tuple[Split, ...]) -> set[str]:
    return {f"{form}/{name}{FORMS[form][0]}" for split in splits for name in batch_names(split)}


def read_split(place: Path, split: Split) -> NDArray[np.uint8]:
    """All images of a split `(N, 32, 32, 3)` from a folder or an archive of either format."""
    for form, (suffix, decode) in FORMS.items():
        if place.is_dir():
            folder = next((f for f in (place / form, place) if (f / (batch_names(split)[0] + suffix)).is_file()), None)
            files = None if folder is None else {
                f"{form}/{name}{suffix}": path.read_bytes()
                for name in batch_names(split) if (path := folder / f"{name}{suffix}").is_file()
            }  # fmt: skip
        else:
            files = read_members(place, members(form, (split,)), _LARGEST, _TOTAL)
        if files:
            parts = []
            for name in sorted(members(form, (split,))):
                try:
                    parts.append(decode(files[name]))
                except KeyError:
                    raise ValueError(f"{name} is missing") from None
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
            return np.concatenate(parts).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    raise ValueError(f"no {' and no '.join(FORMS)} in it")


def cache_folder() -> Path:
    """Folder of downloads. Raises DataError if there is no home folder."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "invkit"
    except RuntimeError:
        raise DataError(f"cifar10: there is no home folder to download to; set XDG_CACHE_HOME, or {WAY_OUT}") from None


def has_all(folder: Path) -> bool:
    return all((folder / name).is_file() for name in members("cifar-10-batches-bin", ("train", "test")))


def obtain(
    folder: Path,
    url: str = URL,
    digest: str = DIGEST,
    size: int = SIZE,
    say: Callable[[str], None] = say_on_stderr,
    pause: float = 2.0,
) -> None:
    """Download the binary version, extract its batch files to `folder` and delete the archive."""
    archive, wanted = folder / "cifar-10-binary.tar.gz", members("cifar-10-batches-bin", ("train", "test"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"cifar10: {folder} cannot be created ({error}); set XDG_CACHE_HOME, or {WAY_OUT}"
        ) from None
    with locked(folder, lambda holder: say(f"cifar10: waiting for {holder}, which downloads CIFAR-10 to {folder}")):
        if has_all(folder):  # downloaded by the process that held the lock
            return
        if not archive.exists():
            say(f"cifar10: downloading CIFAR-10 ({size / 1e6:.0f} MB) from {url} to {folder}; it may take an hour.")
            say(f"  An interrupted download is resumed. To avoid it, {WAY_OUT}.")
            fetch(url, archive, digest, size, WAY_OUT, say, pause)
        try:
            found = read_members(archive, wanted, _LARGEST, _TOTAL)
            if missing := wanted - found.keys():
                raise ValueError(f"{min(missing)} is missing")
        except UNREADABLE as error:
            archive.unlink()
            raise DataError(
                f"cifar10: {archive} is damaged ({error}) and was removed; run again to download it, or {WAY_OUT}"
            ) from None
        for name, data in found.items():
            write_atomic(folder / name, data)
        archive.unlink()


class Cifar10(Dataset):
    """The 60,000 colour images of 32x32 pixels of CIFAR-10: 50,000 for training, 10,000 for testing.

    They are shuffled; the order of the test images does not depend on the seed.
    """

    mirrored: ClassVar[bool] = True
    root: PathSetting | None = Field(
        None, description="cifar-10-batches-py or -bin, its parent folder, or a .tar.gz of it; null: downloaded"
    )

    @property
    def downloads(self) -> bool:
        return self.root is None

    def missing(self) -> str | None:
        if self.root is not None:
            return None if Path(self.root).exists() else f"cifar10: {self.root} does not exist"
        try:
            found = has_all(cache_folder())
        except DataError:
            found = False
        return None if found else "CIFAR-10 is not on this machine yet"

    def open(self, split: Split, grid: Grid, seed: int, limit: int | None = None) -> Images:
        if enlarges((32, 32), grid):
            raise DataError(
                f"cifar10: its images have 32x32 pixels and would only be enlarged to {grid}; "
                "choose at most 32x32, or finer images with data.name=images or photos"
            )
        place = Path(self.root) if self.root is not None else cache_folder()
        if missing := self.missing():
            if self.root is not None:
                raise DataError(f"{missing}; {WAY_OUT}")
            obtain(place)
        try:
            pixels = read_split(place, split)
        except UNREADABLE as error:
            again = f"remove {place / 'cifar-10-batches-bin'} to download it again, or " if self.root is None else ""
            raise DataError(f"cifar10: {place} cannot be used ({error}); {again}{WAY_OUT}") from None
        keys = Keys.of(seed if split == "train" else 0, f"cifar10/{split}", [0])
        order = keys.permutation("order", len(pixels))[0, :limit].numpy()
        return ArrayImages(pixels, order, [f"{split}/{i}" for i in range(len(pixels))], grid)
