"""What of a suite is asked for: the command line's flags as a value."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fusionbench.core.errors import SuiteError
from fusionbench.suites.cell import Plan
from fusionbench.suites.suite import Suite, narrow_suite


@dataclass(frozen=True)
class Selection:
    """How the command line narrows a suite; empty is the whole suite.

    Attributes:
        datasets, models: names of the suite's, or `name[option=value]` as a further row.
        folds: fold numbers, e.g. "0-2" or "0,3".
        limit: compute at most so many cells that are not there yet.
    """

    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    folds: str | None = None
    repeats: int | None = None
    seed: int | None = None
    limit: int | None = None

    @property
    def whole(self) -> Selection:
        """The whole suite with the same repeats and seed."""
        return Selection(repeats=self.repeats, seed=self.seed)

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that say which cells, as the command line takes them; without `--limit`."""
        numbers = (("--folds", self.folds), ("--repeats", self.repeats), ("--seed", self.seed))
        return (*self.rows, *(word for name, value in numbers if value is not None for word in (name, str(value))))

    @property
    def rows(self) -> tuple[str, ...]:
        """The flags that say which rows, as the command line takes them."""
        asked = [("-d", name) for name in self.datasets] + [("-m", name) for name in self.models]
        return tuple(word for flag in asked for word in flag)

    def narrow(self, suite: Suite) -> Suite:
        """The suite with fewer datasets or models, other repeats or another seed.

        Raises:
            SuiteError: a name that the suite does not have.
        """
        return narrow_suite(suite, datasets=self.datasets, models=self.models, repeats=self.repeats, seed=self.seed)

    def pick(self, plan: Plan) -> Plan:
        """The plan with fewer cells.

        Raises:
            SuiteError: a fold that the suite does not have.
        """
        wanted = _fold_numbers(self.folds, {c.fold for c in plan.listed})
        cells = [c for c in plan.listed if wanted is None or c.fold in wanted]
        return plan if len(cells) == len(plan.listed) else plan.select(cells)


WHOLE = Selection()
"""A suite as it is written."""


_FOLD_DIGITS = 9


def _fold_numbers(text: str | None, known: set[int]) -> set[int] | None:
    """`0-2,4` as numbers.

    Raises:
        SuiteError: unreadable, or a fold the suite does not have.
    """
    if text is None:
        return None
    wanted: set[int] = set()
    outside = SuiteError(f"--folds {text}: this suite has folds {min(known, default=0)} to {max(known, default=0)}")
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if match is None:
            raise SuiteError(f"--folds {text}: cannot read {part!r}; write numbers and ranges, such as 0-2,4")
        first, last = match[1], match[2] or match[1]
        if max(len(first), len(last)) > _FOLD_DIGITS or not {int(first), int(last)} <= known:
            raise outside  # before a range of any size is made
        wanted |= set(range(int(first), int(last) + 1))
    if not wanted <= known:
        raise outside
    return wanted
