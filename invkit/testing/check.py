"""Runs all checks on a degradation and collects them in a report."""

from collections.abc import Callable, Sequence
from typing import Any

from invkit.core.errors import PluginError
from invkit.core.grid import Grid
from invkit.physics.degradation import Degradation
from invkit.testing import algebra, batches, contract, resolution
from invkit.testing.report import Check, Report, guarded
from invkit.testing.trials import Trials, fixed_random_state, make_trials

CHECKS: dict[str, Callable[[Trials], Check]] = {
    "shapes": contract.check_shapes,
    "dtype": contract.check_dtype,
    "linearity": algebra.check_linearity,
    "adjoint": algebra.check_adjoint,
    "gradients": algebra.check_gradients,
    "pinv": algebra.check_pinv,
    "vjp": algebra.check_vjp,
    "purity": contract.check_purity,
    "frozen": contract.check_frozen,
    "keys": batches.check_keys,
    "batch": batches.check_batch,
    "resolution": resolution.check_resolution,
    "settings": resolution.check_settings,
    "cost": resolution.check_cost,
}


def check_degradation(
    degradation: Degradation | type[Degradation],
    *,
    draws: int = 10,
    seed: int = 0,
    grids: Sequence[Grid] | None = None,
) -> Report:
    """Check that a degradation, and the operators it samples, satisfy all assumptions of the core.

    A class is checked with settings derived from the examples, types and bounds of its fields, an instance as it is.
    `draws` operators are sampled on random and special grids (1x1, odd, not square, one channel and three), or only on
    `grids`. A failed check raises nothing: read the report, or call its `raise_for_failures()`. Raises PluginError if no
    valid settings can be found.

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
    with fixed_random_state():
        trials = _prepared(cls, degradation, draws, seed, grids)
        checks = tuple(
            guarded(name, check, trials)
            if trials.usable or name == "shapes"
            else Check(name, True, None, None, "no operator could be sampled")
            for name, check in CHECKS.items()
        )
    return Report(cls.__name__, checks)


def _prepared(cls: type[Degradation], *arguments: Any) -> Trials:
    try:
        return make_trials(*arguments)
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(f"{cls.__name__} cannot be checked: {type(error).__name__}: {error}") from error
