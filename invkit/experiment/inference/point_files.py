"""Point files: coordinates and the values measured there, as .csv or .npz."""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.errors import DataError
from invkit.data.archive import UNREADABLE, npz_array, open_zip
from invkit.data.decoding import check_file, error_line, printable
from invkit.physics.points import partial_cover

FAR = 10.0  # larger absolute values are assumed to be in other units
Rows = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Table:
    """The numbers of a file of points, as they are."""

    coordinates: Rows  # (N, 2)
    values: Rows  # (N, C)
    columns: tuple[str, ...] = ()  # names of the values
    lines: NDArray[np.int64] | None = None  # line of each point
    notes: tuple[str, ...] = ()  # how the file was understood, where it is not the documented form


@dataclass(frozen=True, eq=False)
class Points:
    """Points of a file."""

    coordinates: Tensor  # (N, 2) float64
    values: Tensor  # (N, C) float64, scaled to [-1, 1]
    columns: tuple[str, ...]
    notes: tuple[str, ...]


def read_points(path: Path, channels: int, low: float = -1.0, high: float = 1.0) -> Points:
    """The points of a file; values are scaled from [`low`, `high`] to [-1, 1].

    A .csv has a header with `x`, `y` and a name for each channel; `r,g,b` and `c0,c1,...` may have any order. Fields may be
    separated by `;` or tabs, then also with decimal commas. An .npz has arrays `coordinates` (N, 2) and `values` (N, C).
    Raises DataError for the first error, in one line.
    """
    where = printable(os.fspath(path))
    try:
        check_file(path)
        table = (_csv if path.suffix.lower() == ".csv" else _npz)(path, where, channels)
    except DataError:
        raise
    except (*UNREADABLE, csv.Error) as error:
        raise DataError(f"{where}: cannot be read as points ({error_line(error)}); save it again") from None
    if not len(table.values):
        raise DataError(f"{where}: the file has no points; at least one is needed")
    coordinates, values = table.coordinates, (table.values - low) * (2 / (high - low)) - 1
    inside = ((coordinates >= 0) & (coordinates <= 1)).all(1)  # False for NaN
    problems = (
        (~inside, coordinates, "outside the unit square; divide pixel coordinates by the width and height of the image"),
        (~np.isfinite(values).all(1), values, "not a finite value; leave the point out"),
        (
            (abs(values) > FAR).any(1), table.values,
            f"far outside [{low:g}, {high:g}]; --range LOW HIGH gives the values of your unit that mean -1 and 1 in the "
            "training images, such as --range 0 255",
        ),
    )  # fmt: skip
    for invalid, numbers, text in problems:
        if invalid.any():
            first = int(invalid.argmax())
            shown = ", ".join(f"{x:.6g}" for x in numbers[first])
            more = f" (and {invalid.sum() - 1} points more)" if invalid.sum() > 1 else ""
            place = f":{table.lines[first]}:" if table.lines is not None else f": point {first}:"
            raise DataError(f"{where}{place} ({shown}) is {text}{more}")
    at = torch.from_numpy(coordinates)
    notes = (*table.notes, *filter(None, [partial_cover(at)]))
    return Points(at, torch.from_numpy(values), table.columns, notes)


def _known_names(channels: int) -> list[tuple[str, ...]]:
    """Documented names of the value columns, the preferred ones first."""
    names: dict[int, list[tuple[str, ...]]] = {1: [("grey",), ("gray",)], 3: [("r", "g", "b")]}
    return [*names.get(channels, []), tuple(f"c{i}" for i in range(channels))]


def _columns(header: tuple[str, ...], where: str, channels: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the value columns in the order of the channels, and a note if they are not known names."""
    lower = tuple(word.lower() for word in header)
    given = tuple(word for word, name in zip(header, lower, strict=True) if name not in ("x", "y"))
    if lower.count("x") != 1 or lower.count("y") != 1 or len(given) != channels or len(set(lower)) != len(lower):
        first, *_, last = *_known_names(channels), _known_names(channels)[-1]
        wanted = " or ".join(",".join(("x", "y", *names)) for names in dict.fromkeys((first, last)))
        raise DataError(
            f"{where}:1: the header is {printable(','.join(header))[:80]!r}, and the run's images have "
            f"{channels} {'channel' if channels == 1 else 'channels'}, so it must be {wanted}, or have other names of the values"
        )
    for known in _known_names(channels):
        if set(known) == {word.lower() for word in given}:
            return known, ()
    shown = printable(", ".join(given))
    return given, (f"values {shown}" + f" (channels 0 to {channels - 1} in this order)" * (channels > 1),)


def _csv(path: Path, where: str, channels: int) -> Table:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        separator = next((mark for mark in (";", "\t") if mark in first), ",")
        file.seek(0)
        reader = csv.reader(file, strict=True, delimiter=separator)
        header = tuple(word.strip() for word in next(reader, ()))
        columns, notes = _columns(header, where, channels)
        rows = [(reader.line_num, row) for row in reader if row]
    commas = separator != "," and any("," in word for _, row in rows for word in row)
    if separator != ",":
        told = "fields are separated by " + ("tabs" if separator == "\t" else repr(separator))
        told += ", and numbers have decimal commas" * commas
        notes = (told, *notes)
    table = np.array(list(_numbers(rows, where, len(header), commas)), dtype=np.float64).reshape(-1, len(header) + 1)
    place = {name.lower(): 1 + i for i, name in enumerate(header)}
    at, values = (table[:, [place[name.lower()] for name in names]] for names in (("x", "y"), columns))
    return Table(at, values, columns, table[:, 0].astype(np.int64), notes)


def _numbers(rows: list[tuple[int, list[str]]], where: str, width: int, commas: bool) -> Iterator[list[float]]:
    """The line number and the numbers of each row."""
    for line, row in rows:
        if len(row) != width:
            raise DataError(
                f"{where}:{line}: {len(row)} fields, and the header has {width}; decimal commas need fields separated by ';'"
            )
        words = [word.replace(",", ".") if commas and "." not in word else word for word in row]
        try:
            yield [line, *map(float, words)]
        except ValueError:
            word = next(word for word in words if not _is_number(word))
            raise DataError(
                f"{where}:{line}: {printable(word)[:40]!r} is not a number; write it as in 0.25, or leave the point out"
            ) from None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _npz(path: Path, where: str, channels: int) -> Table:
    with open_zip(path) as archive:
        coordinates, values = _npz_rows(archive, where, channels)
    if len(coordinates) != len(values):
        raise DataError(f"{where}: {len(coordinates)} coordinates and {len(values)} values; give one for each point")
    return Table(coordinates, values)


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
