"""Groups of images that are not independent, as the user names them: by folder, by file name, or in a CSV."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from invkit.core.errors import DataError
from invkit.data.decoding import check_file, printable

_PREFIX = re.compile(r"[^_\- ]+")  # of a file name, up to its first _, - or space


def user_groups(names: Sequence[str], group: str | None, table: Path | None) -> Mapping[str, str]:
    """The group of each image by name: its folder, the prefix of its file name, or a column of a CSV.

    Raises DataError if an image is not in the CSV.
    """
    if group is None:
        return {}
    if table is not None:
        return _column(names, group, table)
    if group == "folder":
        return {name: name.rpartition("/")[0] or "." for name in names}
    found = {name: _PREFIX.match(name.rpartition("/")[2].rpartition(".")[0]) for name in names}
    return {
        name: f"{name.rpartition('/')[0]}/{prefix[0] if prefix else ''}".lstrip("/") for name, prefix in found.items()
    }


def _column(names: Sequence[str], column: str, path: Path) -> dict[str, str]:
    """The values of a column by image; the first column holds file names, with or without their folders and suffixes."""
    where = printable(str(path))
    try:
        check_file(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"data.group_file: {where} cannot be read as a CSV ({error})") from None
    if not rows or column not in rows[0][1:]:
        header = printable(", ".join(rows[0][1:])) if rows else ""
        raise DataError(f"data.group: {where} has no column {column!r} (columns: {header or 'none'})")
    at = rows[0].index(column)
    values = {row[0]: row[at] for row in rows[1:] if len(row) > at}
    groups = {}
    for name in names:
        file_name = name.rpartition("/")[2]
        keys = (name, name.rpartition(".")[0], file_name, file_name.rpartition(".")[0])
        if (key := next((key for key in keys if values.get(key)), None)) is None:
            raise DataError(f"data.group_file: {where} has no {column} of {printable(name)}; add a line for it")
        groups[name] = values[key]
    return groups
