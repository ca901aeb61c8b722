"""Assertions on the facts in messages (keys, names, paths, numbers, remedies), independent of the wording."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from warnings import WarningMessage

import pytest


def missing(text: str, *facts: object) -> list[str]:
    """The facts that do not occur in a text; words and numbers are matched as a whole."""
    return [str(fact) for fact in facts if not re.search(rf"(?<!\w){re.escape(str(fact))}(?!\w)", text)]


@contextmanager
def raises(kind: type[BaseException], *facts: object) -> Iterator[pytest.ExceptionInfo]:
    """`pytest.raises` for an error whose message contains all facts."""
    with pytest.raises(kind) as caught:
        yield caught
    assert not missing(str(caught.value), *facts), str(caught.value)


@contextmanager
def warns(*facts: object, kind: type[Warning] = UserWarning) -> Iterator[list[WarningMessage]]:
    """`pytest.warns`, for at least one warning that contains all facts."""
    with pytest.warns(kind) as caught:
        yield caught.list
    assert any(not missing(str(found.message), *facts) for found in caught.list), [str(w.message) for w in caught.list]
