"""Whether the estimates of a method fit the measured data at all; pasted observed pixels hide it where they do not."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from invkit.evaluation.metrics import Outcome

MISFIT = "*misfit"  # not the name of a metric
FAR = 3.0  # misfit relative to the measured values; that of an unrelated image is about 1.4


def misfit(outcome: Outcome) -> dict[str, Tensor]:
    """Sums of squares of `A x - y` and of y, of the estimate or the first sample, (B,) float64 each, batch first."""
    operator, y = outcome.measurement.operator, outcome.measurement.y
    error = operator.forward(outcome.estimate) - y
    return {name: x.double().square().flatten(1).sum(1) for name, x in (("error", error), ("data", y))}


def misfit_note(row: str, sums: Mapping[str, NDArray[np.float64]]) -> str | None:
    """A warning if the estimates of a row, with the sums of `misfit`, are far from the data."""
    error, data = (float(np.sqrt(sums[name].sum())) for name in ("error", "data"))
    if not error > FAR * data:
        return None
    times = f"{error / data:.3g} times as large as y" if data else "not zero, as y is"
    return (
        f"{row} does not fit the data: A x - y is {times} (root mean square), so the method diverged or "
        "is not tuned for this operator; exactly observed pixels are pasted in, which hides it in other columns"
    )
