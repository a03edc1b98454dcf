"""What is in a cohort, and what looks wrong about it: what `fusionbench data check` prints of any dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusionbench.data.inspection.checks import (
    DataWarning,
    check_columns,
    check_equal_cases,
    check_equal_outcomes,
    check_follow_up,
    check_structure,
)
from fusionbench.data.inspection.contents import read_all, read_small
from fusionbench.data.inspection.summary import Facts, facts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusionbench.data.cohort import Cohort
    from fusionbench.data.inspection.contents import Content


@dataclass(frozen=True)
class Inspection:
    """Facts and warnings about a cohort; JSON values throughout."""

    facts: Facts
    warnings: tuple[DataWarning, ...]


def inspect(cohort: Cohort) -> Inspection:
    """Read every value of a cohort once, and check it.

    Raises:
        DataError: values that cannot be used, such as NaN in a bag; each in a line of its own.
    """
    contents = read_all(cohort)
    return Inspection(facts_of(cohort, contents), _warnings(cohort, contents))


def warnings_of(cohort: Cohort) -> tuple[DataWarning, ...]:
    """The warnings about a cohort, without reading modalities whose files are large or faulty."""
    return _warnings(cohort, read_small(cohort))


_SAME_PATIENT = ("shared-prefix", "equal-cases")
"""Kinds that name `group` as the remedy; a case is told of once."""


def _warnings(cohort: Cohort, contents: Mapping[str, Content]) -> tuple[DataWarning, ...]:
    of_cohort = (*check_follow_up(cohort), *check_structure(cohort))
    equal = tuple(check_equal_cases(contents))
    told = {name for warning in (*of_cohort, *equal) if warning.kind in _SAME_PATIENT for name in warning.names}
    by_outcome = [w for w in check_equal_outcomes(cohort, contents) if not told.issuperset(w.names)]
    return (*of_cohort, *equal, *by_outcome, *check_columns(contents))
