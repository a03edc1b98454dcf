"""What is in a cohort, and what looks wrong about it: what `fusionbench data check` prints of any dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

from fusionbench.core.data_warning import DataWarning
from fusionbench.data.cohort import FaultyCohort, read_sound_part
from fusionbench.data.inspection.checks import (
    Kind,
    check_columns,
    check_equal_cases,
    check_equal_outcomes,
    check_follow_up,
)
from fusionbench.data.inspection.contents import read_all, read_small
from fusionbench.data.inspection.levels import check_levels
from fusionbench.data.inspection.structure import check_structure
from fusionbench.data.inspection.summary import Facts, facts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusionbench.core.interfaces import Dataset, Modality
    from fusionbench.data.cohort import Cohort
    from fusionbench.data.inspection.contents import Content

HARM = {kind: i for i, kind in enumerate(get_args(Kind))}
"""Kind of warning to its place when the most harmful comes first."""


@dataclass(frozen=True)
class Inspection:
    """A cohort's problems, facts and warnings; JSON values throughout.

    Attributes:
        problems: what has to be mended before anything can be run.
        facts: of what could be read; None where nothing could.
        warnings: of what could be read, the most harmful first.
    """

    problems: tuple[str, ...]
    facts: Facts | None
    warnings: tuple[DataWarning, ...] = ()


def examine(dataset: Dataset, known: Mapping[str, type[Modality]]) -> Inspection:
    """Read every value of a dataset once, and check it; a fault does not hide those behind it.

    Args:
        known: modality plugins by name.

    Raises:
        PluginError: the dataset declares a modality plugin or an option that does not exist.
    """
    found: list[str] = []
    told: tuple[str, ...] = ()
    try:
        cohort = read_sound_part(dataset, known, found)
    except FaultyCohort as error:
        told = error.problems
        cohort = None if error.rest is None else read_sound_part(error.rest, known, found)
    inspection = Inspection((), None) if cohort is None else _inspect(cohort, found)
    # A faulty file is not told again by the case that it belongs to.
    places = [f": {problem.partition(': ')[0]}: " for problem in told]
    new = [line for line in found if not any(place in line for place in places)]
    return replace(inspection, problems=(*told, *new))


def _inspect(cohort: Cohort, problems: list[str]) -> Inspection:
    """Read every value of a cohort once, and check it.

    Args:
        problems: known so far; gets a line for each case whose values cannot be used, such as NaN in a bag.
    """
    contents = read_all(cohort, problems)
    found = sorted(_warnings(cohort, contents), key=lambda warning: HARM[warning.kind])
    return Inspection(tuple(problems), facts_of(cohort, contents), tuple(found))


def warnings_of(cohort: Cohort) -> tuple[DataWarning, ...]:
    """The warnings about a cohort, without reading modalities whose files are large or faulty.

    Their order is that of stored locks, with which an audit compares them.
    """
    return _warnings(cohort, read_small(cohort))


_SAME_PATIENT = ("group-unnamed", "shared-prefix", "equal-cases")
"""Kinds that name `group` as the remedy; a case is told of once."""


def _warnings(cohort: Cohort, contents: Mapping[str, Content]) -> tuple[DataWarning, ...]:
    # A column that is to be read otherwise, or not at all, has no levels and no values yet that say anything.
    texts = [*cohort.info.warnings, *check_levels(contents, cohort.info.warnings)]
    answered = {(w.where, name) for w in texts if w.kind in ("texts-for-numbers", "dates") for name in w.names}
    of_cohort = [*check_follow_up(cohort), *check_structure(cohort), *texts]
    grouped = {name for warning in texts if warning.kind == "group-unnamed" for name in warning.names}
    of_cohort = [w for w in of_cohort if w.kind != "shared-prefix" or not grouped.issuperset(w.names)]
    equal = [w for w in check_equal_cases(contents) if not grouped.issuperset(w.names)]
    told = {name for warning in (*of_cohort, *equal) if warning.kind in _SAME_PATIENT for name in warning.names}
    by_outcome = [w for w in check_equal_outcomes(cohort, contents) if not told.issuperset(w.names)]
    return (*of_cohort, *equal, *by_outcome, *check_columns(contents, answered))
