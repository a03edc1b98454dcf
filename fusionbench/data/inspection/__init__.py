"""What is in a cohort, and what is suspicious about it: what `fusionbench data check` prints of any dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusionbench.data.inspection.contents import read_all
from fusionbench.data.inspection.summary import Facts, facts_of
from fusionbench.data.inspection.suspicion import Suspicion

if TYPE_CHECKING:
    from fusionbench.data.cohort import Cohort


@dataclass(frozen=True)
class Inspection:
    """Facts and suspicions; JSON values throughout."""

    facts: Facts
    warnings: tuple[Suspicion, ...]


def inspect(cohort: Cohort) -> Inspection:
    """Read every value of a cohort once.

    Raises:
        DataError: values that cannot be used, such as NaN in a bag; each in a line of its own.
    """
    from fusionbench.data.inspection.columns import column_warnings
    from fusionbench.data.inspection.follow_up import follow_up_warnings
    from fusionbench.data.inspection.structure import structure_warnings

    contents = read_all(cohort)
    made: Iterator[Suspicion] = (
        warning
        for found in (follow_up_warnings(cohort), structure_warnings(cohort), column_warnings(cohort, contents))
        for warning in found
    )
    return Inspection(facts_of(cohort, contents), tuple(made))
