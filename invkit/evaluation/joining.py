"""The evaluations of several degradations on the same pictures as one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from invkit.evaluation.evaluator import Evaluation
from invkit.evaluation.table import LISTS


def joined(found: Mapping[str, Evaluation], degradation: Mapping[str, Any]) -> Evaluation:
    """One evaluation of one run, from those of its degradations by name; `degradation` is the recipe's, as plain data.

    Rows, differences, figures of each picture and cost say which they belong to. Hashes and pictures are by grid, and
    where there are several, by grid and name; files end in the name.
    """
    first = next(iter(found.values()))
    several = len(found) > 1

    def by_name(values: Mapping[str, Mapping[str, Any]], between: str) -> dict[str, Any]:
        return {
            f"{key}{between}{name}" if several else key: value
            for name, entries in values.items()
            for key, value in entries.items()
        }

    record = by_name({name: one.record for name, one in found.items()}, ", ")
    protocol = {
        **first.table["protocol"],
        "degradation": degradation,
        "masks_sha256": {key: entry["masks_sha256"] for key, entry in record.items()},
    }
    lists = {key: [entry for one in found.values() for entry in one.table.get(key, ())] for key in LISTS}
    return replace(
        first,
        table={**first.table, **lists, "protocol": protocol},
        cost={**first.cost, "rows": [row for one in found.values() for row in one.cost["rows"]]},
        record=record,
        per_image=[entry for one in found.values() for entry in one.per_image],
        pictures=by_name({name: one.pictures for name, one in found.items()}, ", "),
        arrays=by_name({name: one.arrays for name, one in found.items()}, "-"),
    )
