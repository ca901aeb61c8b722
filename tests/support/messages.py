"""Messages are held to facts (keys, names, paths, numbers, what helps) and not to their wording, which may change."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from warnings import WarningMessage

import pytest


def missing(text: str, *facts: object) -> list[str]:
    """The facts that a text does not state; a word or a number counts where it stands by itself."""
    return [str(fact) for fact in facts if not re.search(rf"(?<!\w){re.escape(str(fact))}(?!\w)", text)]


@contextmanager
def raises(kind: type[BaseException], *facts: object) -> Iterator[pytest.ExceptionInfo]:
    """`pytest.raises` for an error whose message states all facts."""
    with pytest.raises(kind) as caught:
        yield caught
    assert not missing(str(caught.value), *facts), str(caught.value)


@contextmanager
def warns(*facts: object, kind: type[Warning] = UserWarning) -> Iterator[list[WarningMessage]]:
    """`pytest.warns` for warnings of which one states all facts."""
    with pytest.warns(kind) as caught:
        yield caught.list
    assert any(not missing(str(found.message), *facts) for found in caught.list), [str(w.message) for w in caught.list]
