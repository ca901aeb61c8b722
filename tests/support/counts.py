"""Numbers of trials in the reliability tests: of the fast tier, and of the full one that `-m slow` selects."""

import os

import pytest

COUNTS = {  # name: (fast, full)
    "faults": (40, 200),
    "crashes": (60, 400),
    "kills": (3, 20),
    "steps": (150, 10_000),
    "cuts": (8, 40),
    "stops": (2, 12),
    "damages": (60, 500),
    "recipes": (300, int(os.environ.get("INVKIT_RECIPES", 5000))),
    "archives": (40, 40),
    "checkpoints": (30, 30),
}


def tiers(what: str) -> pytest.MarkDecorator:
    """Parametrise a test with the `count` of the fast tier and, marked slow, of the full one."""
    fast, full = COUNTS[what]
    more = [pytest.param(full, marks=pytest.mark.slow, id="full")] if full != fast else []
    return pytest.mark.parametrize("count", [pytest.param(fast, id="fast"), *more])
