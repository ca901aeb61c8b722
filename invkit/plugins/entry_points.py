"""The entry points of installed plugins, read one distribution at a time: a damaged one hides no other."""

from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distributions, version
from pathlib import Path

GROUP = "invkit"


def entries() -> Iterator[tuple[str, str, EntryPoint | Exception]]:
    """(distribution, version, entry point) of every plugin on `sys.path`, the first of each distribution.

    In place of the entry points of a distribution whose metadata cannot be read stands the error.
    """
    seen = set()
    for distribution in distributions():
        name, release = _name(distribution), _version(distribution)
        if name in seen:
            continue
        seen.add(name)
        try:
            text = distribution.read_text("entry_points.txt") or ""
            found = list(distribution.entry_points.select(group=GROUP)) if f"[{GROUP}]" in text else []
            yield from ((name, release, point) for point in found)
        except Exception as error:
            if GROUP in name:  # the damage of others is no business of ours
                yield name, release, error


def version_of(distribution: str) -> str | None:
    """The version of a distribution; None where it is not installed."""
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
