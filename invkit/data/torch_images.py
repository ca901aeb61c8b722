"""Images of a `torch.utils.data.Dataset`, such as those of torchvision, as a zip that the data set `images` reads."""

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from invkit.core.errors import DataError
from invkit.core.files import make_folder

EPOCH = (1980, 1, 1, 0, 0, 0)  # of every entry, so that equal images give equal bytes
BYTE = 1e-3  # largest difference from a whole number of 255ths of a float made from a byte


def write_images(path: str | Path, train: Any, test: Any = None) -> Path:
    """Write the images of a torch `Dataset`, or of one for training and one for testing, to a zip; returns its path.

    An item is an image or a tuple, list or mapping that begins with one: a PIL image, an array (H, W) or (H, W, C), or a
    tensor (C, H, W) or (H, W), C = 1 or 3. Floats are in [0, 1], as of `ToTensor`. Nothing is lost: grey stays grey, and
    floats that are no bytes are stored as they are. Raises DataError for other items.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_images(f"{folder}/set.zip", [(torch.rand(1, 8, 8), "a label")] * 3)
    ...     zipfile.ZipFile(path).namelist()
    ['000000.npy', '000001.npy', '000002.npy']
    """
    path = Path(path)
    if path.suffix.lower() != ".zip":
        raise DataError(f"{path}: the images are written to a zip; give a name that ends in .zip")
    make_folder(path.absolute().parent)
    folders = {"": train} if test is None else {"train/": train, "test/": test}
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(staged, "w") as archive:
            for folder, dataset in folders.items():
                for i in range(len(dataset)):
                    suffix, data = _encoded(_pixels(dataset[i], f"{folder}{i}"), f"{folder}{i}")
                    archive.writestr(zipfile.ZipInfo(f"{folder}{i:06d}{suffix}", EPOCH), data)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    return path


def _pixels(item: Any, where: str) -> NDArray[Any]:
    """The pixels (H, W) or (H, W, C) of an item."""
    while isinstance(item, tuple | list | Mapping) and item:
        item = next(iter(item.values())) if isinstance(item, Mapping) else item[0]
    if isinstance(item, Image.Image):
        grey = item.mode in ("1", "L", "LA") or item.mode[0] in "IF"
        return np.asarray(item if item.mode[0] in "IF" else item.convert("L" if grey else "RGB"))
    if isinstance(item, Tensor):
        array = item.detach().cpu().numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    elif isinstance(item, np.ndarray):
        array = item
    else:
        raise DataError(f"item {where} is {type(item).__name__}; it has to be an image, or begin with one")
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.ndim != 2 and array.shape[2:] != (3,):
        raise DataError(f"item {where} has the shape {array.shape}; an image has 1 or 3 channels")
    return array


def _encoded(pixels: NDArray[Any], where: str) -> tuple[str, bytes]:
    """Suffix and content of the file of an image: PNG for bytes and 16 bits in grey, else npy."""
    if pixels.dtype.kind == "f":
        if not (pixels.min() >= 0 and pixels.max() <= 1):  # also where a value is not a number
            raise DataError(
                f"item {where} has values from {pixels.min():.4g} to {pixels.max():.4g}; they have to be in [0, 1]: leave out "
                "transforms such as Normalize"
            )
        nearest = np.rint(pixels.astype(np.float64) * 255)
        pixels = nearest.astype(np.uint8) if np.abs(pixels * 255 - nearest).max() < BYTE else pixels
    if pixels.dtype == bool:
        pixels = pixels * np.uint8(255)
    stream = io.BytesIO()
    if pixels.dtype == np.uint8 or (pixels.dtype == np.uint16 and pixels.ndim == 2):
        Image.fromarray(pixels).save(stream, "PNG")
        return ".png", stream.getvalue()
    if pixels.dtype.kind not in "uf":
        raise DataError(f"item {where} has values of {pixels.dtype}; bytes, 16 bits or floats in [0, 1] are taken")
    np.save(stream, np.ascontiguousarray(pixels), allow_pickle=False)
    return ".npy", stream.getvalue()
