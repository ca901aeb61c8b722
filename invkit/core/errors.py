"""Exceptions reported to the user, each with its documented exit code."""

import errno
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

_FULL = {errno.ENOSPC, errno.EDQUOT}

_REFUSED = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP,
}  # fmt: skip

# Messages of out-of-memory errors that have no class of their own: of the CPU allocator, CUDA and its libraries.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "_ALLOC_FAILED")


class InvkitError(Exception):
    """An error whose message is one line for the user: what is wrong, where, and how to fix it."""

    exit_code = 1


class RecipeError(InvkitError, ValueError):
    """A recipe, an override or a command-line argument is wrong."""

    exit_code = 2


class DataError(InvkitError, ValueError):
    """A data set, an image or a checkpoint cannot be used."""

    exit_code = 3


class PluginError(InvkitError):
    """A plugin failed to load, or a name is unknown and a plugin that failed to load may define it."""

    exit_code = 4


class NonFiniteError(InvkitError):
    """A loss, a gradient or an output is not finite; `cause` holds diagnostic values."""

    exit_code = 5

    def __init__(self, message: str, cause: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.cause = cause


class ResourceError(InvkitError):
    """Memory or disk ran out."""

    exit_code = 6


class Interrupted(InvkitError):
    """A signal stopped the run; the state is saved."""

    exit_code = 75


class PeerError(InvkitError):
    """Another process of the run ended or cannot be reached; that process reports the cause."""


def first_line(error: BaseException) -> str:
    """The first line of the message of an error, or the name of its class if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def suggest(word: str, known: Iterable[str], listed: Iterable[str] | None = None) -> str:
    """Suffix of a message about an unknown word: the closest known word; if none is close, all known words, or `listed`."""
    known = list(known)
    if near := get_close_matches(word, known, 1):
        return f" (did you mean {near[0]!r}?)"
    return f" (known: {', '.join(sorted(known if listed is None else listed)) or 'none'})"


def to_user_error(error: BaseException) -> BaseException:
    """Convert Unavailable and errors of disk space, memory or file access to an InvkitError; others are returned unchanged."""
    if isinstance(error, InvkitError):
        return error
    if isinstance(error, Unavailable):  # outside a table, which would state it
        return RecipeError(str(error))
    first = first_line(error)[:300]
    if isinstance(error, OSError) and error.errno in _FULL:
        return ResourceError(
            f"the disk is full: {first}; saved files are intact: free space and run the same command again"
        )
    torch = sys.modules.get("torch")
    memory = isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))
    if isinstance(error, OSError):
        memory = error.errno == errno.ENOMEM
    if memory or (isinstance(error, RuntimeError) and any(word in str(error) for word in _NO_MEMORY)):
        return ResourceError(
            "out of memory; saved files are intact: run the same command again with train.accumulate=N (a divisor of "
            "train.batch) or model.recompute=true for the training, eval.batch=1 for the evaluation, or --tiles or fewer --samples "
            f"for `invkit reconstruct`: {first}"
        )
    if isinstance(error, OSError) and error.filename and error.errno in _REFUSED:
        return RecipeError(f"{error.filename}: {error.strerror}; use another path")
    return error


@contextmanager
def blamed(what: str, code: object) -> Iterator[None]:
    """A block that runs an object of a plugin: other errors than ours become a PluginError that names `what` and the line."""
    try:
        yield
    except (InvkitError, Unavailable):
        raise
    except Exception as error:
        module = type(code).__module__
        if module.partition(".")[0] == "invkit" or isinstance(to_user_error(error), InvkitError):
            raise
        lines = [n for frame, n in traceback.walk_tb(error.__traceback__) if frame.f_globals.get("__name__") == module]
        file = getattr(sys.modules.get(module), "__file__", None) or module
        place = f", line {lines[-1]} of {file}" if lines else ""
        raise PluginError(
            f"{what} fails: {type(error).__name__}: {first_line(error)}{place} (INVKIT_DEBUG=1 shows the traceback)"
        ) from error


class Unavailable(Exception):
    """A metric is undefined for a method, or a method does not apply to a measurement; the table states the message."""
