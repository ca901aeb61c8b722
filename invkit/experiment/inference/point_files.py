"""Point files: coordinates in the unit square and the observed values, as .csv or .npz."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.errors import DataError
from invkit.data.archive import UNREADABLE, npz_array, open_zip
from invkit.data.decoding import check_file, error_line, printable

FAR = 10.0  # larger absolute values are assumed to be in other units
Rows = NDArray[np.float64]


def read_points(path: Path, channels: int, low: float = -1.0, high: float = 1.0) -> tuple[Tensor, Tensor]:
    """Coordinates (N, 2) and values (N, C), float64; values are scaled from [`low`, `high`] to [-1, 1].

    A .csv has a header, `x,y,` and then `r,g,b`, `grey` or `c0,c1,...`; an .npz has arrays `coordinates` (N, 2) and `values`
    (N, C). Raises DataError for the first error, in one line.
    """
    where = printable(os.fspath(path))
    try:
        check_file(path)
        coordinates, values, lines = (_csv if path.suffix.lower() == ".csv" else _npz)(path, where, channels)
    except DataError:
        raise
    except (*UNREADABLE, csv.Error) as error:
        raise DataError(f"{where}: cannot be read as points ({error_line(error)}); save it again") from None
    if not len(values):
        raise DataError(f"{where}: the file has no points; at least one is needed")
    values = (values - low) * (2 / (high - low)) - 1
    inside = ((coordinates >= 0) & (coordinates <= 1)).all(1)  # False for NaN
    problems = (
        (~inside, coordinates, "outside the unit square; divide pixel coordinates by the width and height of the image"),
        (~np.isfinite(values).all(1), values, "not a finite value; leave the point out"),
        (
            (abs(values) > FAR).any(1), values,
            "far outside [-1, 1], the range of pixel values; give the range of your values, such as --range 0 255",
        ),
    )  # fmt: skip
    for invalid, numbers, text in problems:
        if invalid.any():
            first = int(invalid.argmax())
            shown = ", ".join(f"{x:.6g}" for x in numbers[first])
            more = f" (and {invalid.sum() - 1} points more)" if invalid.sum() > 1 else ""
            place = f":{lines[first]}:" if lines is not None else f": point {first}:"
            raise DataError(f"{where}{place} ({shown}) is {text}{more}")
    return torch.from_numpy(coordinates), torch.from_numpy(values)


def _column_names(channels: int) -> list[tuple[str, ...]]:
    """Accepted names of the value columns, the preferred ones first."""
    names: dict[int, list[tuple[str, ...]]] = {1: [("grey",), ("gray",)], 3: [("r", "g", "b")]}
    return [*names.get(channels, []), tuple(f"c{i}" for i in range(channels))]


def _csv(path: Path, where: str, channels: int) -> tuple[Rows, Rows, NDArray[np.int64] | None]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = tuple(word.strip().lower() for word in next(reader, ()))
        if header[:2] != ("x", "y") or header[2:] not in _column_names(channels):
            first, *_, last = *_column_names(channels), _column_names(channels)[-1]
            wanted = " or ".join(",".join(("x", "y", *names)) for names in dict.fromkeys((first, last)))
            raise DataError(
                f"{where}:1: the header is {printable(','.join(header))[:80]!r}, and the run's images have "
                f"{channels} {'channel' if channels == 1 else 'channels'}, so it must be {wanted}"
            )
        table = np.array(list(_numbers(reader, where, len(header))), dtype=np.float64).reshape(-1, len(header) + 1)
    return table[:, 1:3].copy(), table[:, 3:].copy(), table[:, 0].astype(np.int64)


def _numbers(reader: Any, where: str, width: int) -> Iterator[list[float]]:
    """The line number and the numbers of each row."""
    for row in reader:
        line = reader.line_num
        if not row:
            continue
        if len(row) != width:
            raise DataError(
                f"{where}:{line}: {len(row)} fields, and the header has {width}; numbers have decimal points"
            )
        try:
            yield [line, *map(float, row)]
        except ValueError:
            word = next(word for word in row if not _is_number(word))
            raise DataError(
                f"{where}:{line}: {printable(word)[:40]!r} is not a number; write it as in 0.25, or leave the point out"
            ) from None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _npz(path: Path, where: str, channels: int) -> tuple[Rows, Rows, NDArray[np.int64] | None]:
    with open_zip(path) as archive:
        coordinates, values = _npz_rows(archive, where, channels)
    if len(coordinates) != len(values):
        raise DataError(f"{where}: {len(coordinates)} coordinates and {len(values)} values; give one for each point")
    return coordinates, values, None


def _npz_rows(archive: ZipFile, where: str, channels: int) -> Iterator[Rows]:
    """Yield the coordinates, then the values."""
    for name, width in (("coordinates", 2), ("values", channels)):
        try:
            array = npz_array(archive, name)
        except KeyError as error:
            raise DataError(
                f"{where}: the file contains {printable(error.args[0])[:80]}; it needs arrays coordinates (N, 2) and "
                f"values (N, {channels})"
            ) from None
        if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] != width:
            raise DataError(
                f"{where}: {name} is {array.dtype} {array.shape}; it must be numbers (N, {width}), for images with "
                f"{channels} channels"
            )
        yield array.astype(np.float64)
