"""Compares the operator of a measurement with those that a model was trained on."""

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.degradation import Degradation
from invkit.physics.measurement import Measurement

NAMES = {"Mask": "observed pixels"}


def foreign_operator(degradation: Degradation, name: str, grid: Grid, measurement: Measurement) -> str | None:
    """One line if a measurement is of another kind than those of the degradation `name` that a model was trained on, on `grid`.

    None if it is of the same kind. Parameters are not compared: the share of the pixels or the width of a blur is the concern
    of `invkit.diffusion.out_of_distribution`.
    """
    kinds = {
        type(one.sample(Keys.of(0, "kind", [0]), grid)).__name__
        for pair in degradation.table_rows()
        for one in pair  # a part of a mixture, and the mixture that draws it
    }
    given = type(measurement.operator).__name__
    if given in kinds:
        return None
    return f"the model was trained on {name}, and is not suited to measurements of {NAMES.get(given, given)}"
