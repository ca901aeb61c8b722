"""Hold every physics of DeepInverse that recipes may name to the contract of degradations.

Prints the table of docs/reference/deepinv.md.

python tests/benchmarks/deepinv_table.py [draws]
"""

import sys
from importlib.metadata import version

from invkit.core.grid import Grid
from invkit.plugins.loader import registry
from invkit.testing import check_degradation

GRIDS = {
    "any": None,
    "16x16": [Grid(16, 16)],
}  # the kit's own odd and non-square ones, and one that every physics serves


def result(report, has_settings: bool) -> str:
    """What failed, each with its figure. That a setting changes something is not asked of what has none."""
    failed = [
        f"`{c.name}`" + (f" {c.figure:.1g}" if isinstance(c.figure, float) else "")
        for c in report.checks
        if not c.passed and (has_settings or c.name != "settings")
    ]
    return ", ".join(failed) or "conforms"


def main(draws: int) -> None:
    law = registry().names("degradation")["deepinv"]
    names = law.model_fields["physics"].annotation.__args__
    print(f"DeepInverse {version('deepinv')}, {draws} draws\n")
    print("| physics | on any grid | on 16x16 |\n| --- | --- | --- |")
    for name in names:
        reports = [check_degradation(law(physics=name), draws=draws, grids=grids) for grids in GRIDS.values()]
        cells = [result(report, bool(type(law(physics=name).chosen).model_fields)) for report in reports]
        print(f"| `{name}` | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
