"""The kit: every check of a degradation, in one report."""

from collections.abc import Callable, Sequence
from typing import Any

from invkit.core.errors import PluginError, first_line
from invkit.core.grid import Grid
from invkit.physics.degradation import Degradation
from invkit.testing import algebra, batches
from invkit.testing import contract as conduct
from invkit.testing import resolution as laws
from invkit.testing.report import Check, Report
from invkit.testing.trials import Trials, make_trials, steady

CHECKS: dict[str, Callable[[Trials], Check]] = {
    "shapes": conduct.check_shapes,
    "dtype": conduct.check_dtype,
    "linearity": algebra.check_linearity,
    "adjoint": algebra.check_adjoint,
    "gradients": algebra.check_gradients,
    "pinv": algebra.check_pinv,
    "purity": conduct.check_purity,
    "frozen": conduct.check_frozen,
    "keys": batches.check_keys,
    "batch": batches.check_batch,
    "resolution": laws.check_resolution,
    "settings": laws.check_settings,
    "cost": laws.check_cost,
}


def check_degradation(
    degradation: Degradation | type[Degradation],
    *,
    draws: int = 10,
    seed: int = 0,
    grids: Sequence[Grid] | None = None,
) -> Report:
    """Hold a degradation, and the operators it draws, to everything the core relies on.

    A class is checked with settings found from its examples, types and bounds, an instance as it is. `draws` operators
    are tried on random and special grids (1x1, odd, not square, one channel and three), or on `grids` alone. Nothing
    is raised for a check that fails: look at the report, or call its `raise_for_failures()`. Raises PluginError where
    no settings can be found to try.

    >>> import torch
    >>> from invkit.api import Degradation, Grid, Keys, LinearOperator, Mask
    >>> class TopHalf(Degradation):
    ...     def sample(self, keys: Keys, grid: Grid) -> LinearOperator:
    ...         rows = torch.arange(grid.height).view(-1, 1).expand(grid.shape) < (grid.height + 1) // 2
    ...         return Mask(rows.expand(len(keys), 1, -1, -1), grid.channels)
    >>> check_degradation(TopHalf).passed
    True
    """
    cls = degradation if isinstance(degradation, type) else type(degradation)
    with steady():
        trials = _prepared(cls, degradation, draws, seed, grids)
        checks = tuple(_guarded(name, check, trials) for name, check in CHECKS.items())
    return Report(cls.__name__, checks)


def _prepared(cls: type[Degradation], *arguments: Any) -> Trials:
    try:
        return make_trials(*arguments)
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(f"{cls.__name__} cannot be tried: {type(error).__name__}: {error}") from error


def _guarded(name: str, check: Callable[[Trials], Check], trials: Trials) -> Check:
    """The check; whatever it trips over is a failure of the plugin."""
    if not trials.usable and name != "shapes":
        return Check(name, True, None, None, "skipped: no draw could be used")
    try:
        return check(trials)
    except Exception as error:
        return Check(name, False, None, None, f"raised {type(error).__name__}: {first_line(error)}")
