"""What can go wrong for a user, each with the exit code that the command line documents."""

import errno
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

_FULL = {errno.ENOSPC, errno.EDQUOT}

_REFUSED = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP,
}  # fmt: skip

# What allocators say whose errors have no class of their own: the CPU's, CUDA's and its libraries'.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "_ALLOC_FAILED")


class InvkitError(Exception):
    """One clear line for the person in front of the screen: what, where, the way out."""

    exit_code = 1


class RecipeError(InvkitError, ValueError):
    """A recipe, an override or a command-line argument is wrong."""

    exit_code = 2


class DataError(InvkitError, ValueError):
    """A data set, a picture or a checkpoint cannot be used."""

    exit_code = 3


class PluginError(InvkitError):
    """A plugin failed to load, or a name is unknown while one did."""

    exit_code = 4


class NonFiniteError(InvkitError):
    """A loss, a gradient or an output was not finite; `cause` holds what is known of it."""

    exit_code = 5

    def __init__(self, message: str, cause: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.cause = cause


class ResourceError(InvkitError):
    """Memory or disk ran out."""

    exit_code = 6


class Interrupted(InvkitError):
    """A signal stopped the run; its state is saved."""

    exit_code = 75


class PeerError(InvkitError):
    """Another process of a run ended or cannot be reached; its own message says why."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its class where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def suggest(word: str, known: Iterable[str], listed: Iterable[str] | None = None) -> str:
    """The end of a message about an unknown word: the nearest known one; where none is near, all, or those of `listed`."""
    known = list(known)
    if near := get_close_matches(word, known, 1):
        return f" (did you mean {near[0]!r}?)"
    return f" (known: {', '.join(sorted(known if listed is None else listed)) or 'none'})"


def explained(error: BaseException) -> BaseException:
    """The same error as one line for the person, where it is of disk, memory or a path that the system refuses."""
    if isinstance(error, InvkitError):
        return error
    first = first_line(error)[:300]
    if isinstance(error, OSError) and error.errno in _FULL:
        return ResourceError(
            f"the disk is full: {first}; what was saved is intact: free space and give the same command again"
        )
    torch = sys.modules.get("torch")
    memory = isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))
    if isinstance(error, OSError):
        memory = error.errno == errno.ENOMEM
    if memory or (isinstance(error, RuntimeError) and any(word in str(error) for word in _NO_MEMORY)):
        return ResourceError(
            "out of memory; what was saved is intact: lower train.batch or eval.batch, or raise train.accumulate, and "
            f"give the same command again: {first}"
        )
    if isinstance(error, OSError) and error.filename and error.errno in _REFUSED:
        return RecipeError(f"{error.filename}: {error.strerror}; give a path that can be used")
    return error


class Unavailable(Exception):
    """A metric has no value for a row, or a method none for such measurements; the message is the reason that the table states."""
