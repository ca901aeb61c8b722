"""Results of the conformance checks, one line per check."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from invkit.core.errors import PluginError, first_line

if TYPE_CHECKING:
    from rich.table import Table

T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """Result of one check: its worst figure and its tolerance. A check that was skipped has no figure and does not fail."""

    name: str
    passed: bool
    figure: float | None  # a relative error, a count of faults, or a cost
    tolerance: float | None
    detail: str  # one line

    @property
    def skipped(self) -> bool:
        return self.passed and self.figure is None

    @property
    def mark(self) -> str:
        return "skipped" if self.skipped else "ok" if self.passed else "FAILED"

    @property
    def complaint(self) -> str:
        limit = f"{_number(self.figure)}, at most {_number(self.tolerance)} allowed: " if self.tolerance else ""
        return f"{self.name}: {limit}{self.detail}"

    def __str__(self) -> str:
        return f"{self.name:<11} {self.mark:<7} {_number(self.figure):>8} {_number(self.tolerance):>8}  {self.detail}"


@dataclass(frozen=True)
class Report:
    """The results of all checks of one degradation, or of another kind of plugin."""

    degradation: str  # its name
    checks: tuple[Check, ...]
    kind: str = "degradation"

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that failed."""
        return tuple(check.name for check in self.checks if not check.passed)

    @property
    def passed(self) -> bool:
        return not self.failed

    def raise_for_failures(self) -> None:
        """Raise PluginError with one line per failed check."""
        if self.failed:
            lines = [check.complaint for check in self.checks if not check.passed]
            head = f"{self.degradation} fails {len(lines)} of {len(self.checks)} checks"
            raise PluginError("\n".join([head, *lines]))

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data; figures that are not finite become None."""
        checks = [asdict(check) | {"skipped": check.skipped} for check in self.checks]
        for check in checks:
            check["figure"] = check["figure"] if math.isfinite(check["figure"] or 0) else None
        return {self.kind: self.degradation, "passed": self.passed, "checks": checks}

    def __str__(self) -> str:
        return "\n".join([self.degradation, *map(str, self.checks)])

    def __rich__(self) -> "Table":
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.degradation, title_justify="left")
        for heading in ("check", "", "figure", "tolerance", "detail"):
            table.add_column(heading, justify="right" if heading in ("figure", "tolerance") else "left")
        for check in self.checks:
            mark = Text(check.mark, "yellow" if check.skipped else "green" if check.passed else "bold red")
            row = (check.name, mark, _number(check.figure), _number(check.tolerance), Text(check.detail))
            table.add_row(*row)
        return table


def guarded(name: str, check: Callable[[T], Check], subject: T) -> Check:
    """Run a check; an exception counts as a failure."""
    try:
        return check(subject)
    except Exception as error:
        return Check(name, False, None, None, f"raised {type(error).__name__}: {first_line(error)}")


@dataclass
class Worst:
    """Accumulates figures, and keeps the one with the largest ratio to its tolerance."""

    figure: float = 0.0
    tolerance: float = 0.0
    detail: str = ""
    count: int = 0  # of recorded figures
    groups: dict[str, float] = field(default_factory=dict)  # the largest figure of each
    faults: list[str] = field(default_factory=list)

    def record(self, figure: float, tolerance: float, detail: str, group: str = "") -> None:
        figure = math.inf if math.isnan(figure) else figure
        self.count += 1
        if group:
            self.groups[group] = max(self.groups.get(group, 0.0), figure)
        if self.count == 1 or figure * self.tolerance > self.figure * tolerance:
            self.figure, self.tolerance, self.detail = figure, tolerance, detail

    def fault(self, detail: str) -> None:
        """Record an error without a figure; any such error fails the check."""
        self.faults.append(detail)

    def check(self, name: str, nothing: str = "nothing to check") -> Check:
        if self.faults:
            more = f" (and {len(self.faults) - 1} more)" if len(self.faults) > 1 else ""
            return Check(name, False, len(self.faults), 0, self.faults[0] + more)
        if not self.count:
            return Check(name, True, None, None, nothing)
        groups = "".join(f"{group} {_number(figure)}; " for group, figure in self.groups.items())
        return Check(name, self.figure <= self.tolerance, self.figure, self.tolerance, groups + self.detail)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.2g}"
