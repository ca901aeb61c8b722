"""Entry points of installed plugins, read one distribution at a time, so that a damaged one does not affect the others."""

from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distributions, version
from pathlib import Path

GROUP = "invkit"


def entries() -> Iterator[tuple[str, str, EntryPoint | Exception]]:
    """(distribution, version, entry point) of every plugin on `sys.path`; the first installation of each distribution.

    If the metadata of a distribution cannot be read, the third item is the error.
    """
    visited = set()
    for distribution in distributions():
        name, release = _name(distribution), _version(distribution)
        if name in visited:
            continue
        visited.add(name)
        try:
            text = distribution.read_text("entry_points.txt") or ""
            points = list(distribution.entry_points.select(group=GROUP)) if f"[{GROUP}]" in text else []
            yield from ((name, release, point) for point in points)
        except Exception as error:
            if GROUP in name:  # distributions unrelated to invkit are ignored
                yield name, release, error


def version_of(distribution: str) -> str | None:
    """The version of a distribution, or None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _name(distribution: Distribution) -> str:
    try:
        name = distribution.metadata["Name"]
    except Exception:
        name = None
    return name or Path(getattr(distribution, "_path", "unknown")).stem.split("-")[0]


def _version(distribution: Distribution) -> str:
    try:
        return distribution.version or ""
    except Exception:
        return ""
