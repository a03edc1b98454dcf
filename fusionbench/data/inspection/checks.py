"""Checks of a cohort that has been read: its follow-up, cases that are alike, and its columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import astuple
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np

from fusionbench.core.data_warning import DataWarning, Fix
from fusionbench.core.endpoints import SurvivalTarget
from fusionbench.data.cohort import listed
from fusionbench.data.inspection.duplicates import copied, twins
from fusionbench.data.inspection.leakage import (
    REVEALING,
    constant,
    filled_by_event,
    predicts_event,
    predicts_time,
    pure_level,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusionbench.data.cohort import Cohort
    from fusionbench.data.inspection.contents import Content
    from fusionbench.data.inspection.leakage import Bools, Floats

Kind = Literal[
    "censorship-reversed",
    "predicts-event",
    "predicts-time",
    "filled-by-event",
    "level-of-event",
    "equal-cases",
    "group-astride",
    "group-unnamed",
    "shared-prefix",
    "equal-outcomes",
    "named-like-outcome",
    "time-unit",
    "texts-for-numbers",
    "dates",
    "spelling",
    "unknown-level",
    "numbers-for-codes",
    "rare-modality",
    "rare-class",
    "few-groups",
    "no-modality",
    "time-zero",
    "id-like",
    "single-case",
    "constant",
]
"""Kinds of warnings, the most harmful first: leakage, then numbers that mean something else, then what is of no use."""
LEAKS: tuple[Kind, ...] = (
    *("censorship-reversed", "group-astride", "group-unnamed", "shared-prefix", "equal-cases", "equal-outcomes"),
    "named-like-outcome",
    *("predicts-event", "filled-by-event", "predicts-time", "level-of-event"),
)
"""Warnings that put a suite's numbers in doubt; the others are about what a user may want to clean."""

LONGEST, SHORTEST = 600.0, 12.0
"""Months: nobody is followed for 50 years, and a cohort whose longest follow-up is under one year is rare."""
TAIL = 0.1
"""Share of the cases with the longest times, which are mostly censored, since a study ends."""
TAIL_EVENTS = 0.5
"""Share of the events among those with the longest times, from which on it is strange."""
LONGER = 0.55
"""Probability from which on it is strange that an event's time is longer than a censored one; about one half or less is
usual, since an event ends what would have gone on. With both limits, none of 13 cohorts (HANCOCK, TCGA, those of
scikit-survival) gets a warning, and 12 of them do where events and censorings are exchanged."""
LETHAL, LONG = 0.75, 60.0
"""Share of the cases with the event, and months of the longest time, from which on it is strange that most of the
longest followed have it, too: where three of four patients die, those followed for years are mostly alive. Of BRCA of
TCGA, whose deaths come late, this is the only sign."""
MIN_EVENTS = 10
"""Cases with and without event from which on these two numbers mean something."""
OUTCOME_WORDS = frozenset(
    {
        *("os", "dfs", "pfs", "rfs", "dss", "efs", "mfs", "pfi", "dfi", "ttp", "followup", "survival", "mortality"),
        *("death", "dead", "died", "deceased", "alive", "vital", "event", "outcome"),
        *("recurrence", "recurred", "relapse", "relapsed", "progression", "progressed"),
        *("censor", "censored", "censoring", "censorship"),
    }
)
OUTCOME_PHRASES = ("follow up", "last contact", "last seen", "vital status", "days to", "time to", "months to")
ID_LEVELS, MIN_ID_CASES = 0.9, 10
"""A categorical column is like an id with so many levels per case, among at least so many cases."""


def check_follow_up(cohort: Cohort) -> Iterator[DataWarning]:
    """Warnings about times and events: zeros, the unit, and whether events and censorings are exchanged."""
    targets = {case: target for case, target in cohort.targets.items() if isinstance(target, SurvivalTarget)}
    if not targets:
        return
    time = np.array([t.time for t in targets.values()])
    event = np.array([t.event for t in targets.values()], dtype=np.bool_)
    at_zero = [case for case, t in targets.items() if t.time == 0]
    if at_zero:
        yield DataWarning(
            "time-zero",
            "follow-up",
            f"{len(at_zero)} of {len(time)} cases have a time of 0 ({listed(at_zero)}): they died or were lost on the "
            "day of entry, or their time is not known; exclude them if it is not",
            tuple(at_zero),
            (Fix((), "exclude", at_zero),),
        )
    yield from _check_unit(time)
    yield from check_censorship(time, event)


def _check_unit(time: NDArray[np.float64]) -> Iterator[DataWarning]:
    longest, median = float(time.max()), float(np.median(time))
    times = f"times have the median {median:.2f} and the maximum {longest:.2f} months"
    if longest > LONGEST:
        yield DataWarning(
            "time-unit",
            "follow-up",
            f"{times} ({longest / 12:.0f} years): is the unit right? Days declared as months look like this; correct "
            "`unit` under [outcome]: only who wrote the times knows it",
        )
    elif longest < SHORTEST:
        yield DataWarning(
            "time-unit",
            "follow-up",
            f"{times}: is the unit right? Months declared as days or weeks, and years as months, look like this; "
            "correct `unit` under [outcome]: only who wrote the times knows it",
        )


def check_censorship(time: NDArray[np.float64], event: NDArray[np.bool_]) -> Iterator[DataWarning]:
    """A warning where events and censorings look exchanged: the events come late, and the longest times are events.

    Args:
        time: (case,) months. event: (case,) True = observed.
    """
    n, observed = len(time), int(event.sum())
    if min(observed, n - observed) < MIN_EVENTS:
        return
    # Both signs are required: late events alone occur in a cohort that is coded correctly.
    later = _probability_later(time[event], time[~event])
    size = max(1, round(TAIL * n))
    tail = int(event[np.argsort(time, kind="stable")[-size:]].sum())
    many = max(Fraction(TAIL_EVENTS), Fraction(observed, n)) * size
    lethal = observed >= LETHAL * n and tail >= LETHAL * size and float(time.max()) >= LONG
    if lethal or (later >= LONGER and tail >= many):
        yield DataWarning(
            "censorship-reversed",
            "follow-up",
            f"censorship may be reversed: {observed} of {n} cases have the event, at a median time of "
            f"{np.median(time[event]):.1f} months against {np.median(time[~event]):.1f} of the censored, and so have "
            f"{tail} of the {size} longest followed; exchange `event` and `censorship` if 1 means censored. Only who "
            "wrote the column knows",
        )


def _probability_later(events: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Probability that an event's time exceeds a censored time, ties counting half (Mann and Whitney 1947)."""
    ordered = np.sort(others)
    # Left counts the times below, right those below and equal: their sum is twice what ties counting half give.
    below = np.searchsorted(ordered, events, side="left") + np.searchsorted(ordered, events, side="right")
    return float(below.mean() / (2 * len(others)))


def check_columns(contents: Mapping[str, Content], answered: Collection[tuple[str, str]] = ()) -> Iterator[DataWarning]:
    """Warnings about the columns of tables that know the outcome, are named like one, are constant or are like ids.

    Args:
        contents: modality to what was read of it.
        answered: modality and column of columns that are to be read otherwise: only their names are looked at.
    """
    for name, content in contents.items():
        if content.table is None:
            continue
        otherwise = {column for modality, column in answered if modality == name}
        told: set[str] = set()
        for kind, (find, one, several) in _COLUMN_CHECKS.items():
            left_out = (told if kind in _OF_OUTCOME else set()) | (otherwise if kind != "named-like-outcome" else set())
            columns = [c for c in find(content) if c not in left_out]
            if columns:
                told |= set(columns) if kind in _OF_OUTCOME else set()
                number = "1 column" if len(columns) == 1 else f"{len(columns)} columns"
                text = one if len(columns) == 1 else several
                fix = Fix(("modality", name), "exclude", list(columns))
                yield DataWarning(kind, name, f"{name}: {number} ({listed(columns)}) {text}", tuple(columns), (fix,))


def check_equal_cases(contents: Mapping[str, Content]) -> Iterator[DataWarning]:
    """Warnings about cases of different groups whose rows or bags are equal but for noise or the order of instances.

    Args:
        contents: modality to what was read of it.
    """
    for name, content in contents.items():
        values = content.summaries if content.table is None else content.table
        assert values is not None, "a modality has a table or summaries"
        pairs = twins(values, [case.group for case in content.cases])
        if pairs:
            ids = [tuple(content.cases[i].id for i in pair) for pair in pairs]
            involved = tuple(dict.fromkeys(id_ for pair in ids for id_ in pair))
            what = "rows" if content.table is not None else "bags"
            yield DataWarning(
                "equal-cases",
                name,
                f"{name}: {len(involved)} of {len(content.cases)} cases have {what} equal or nearly equal to those of "
                f"a case of another group ({listed([' and '.join(pair) for pair in ids])}): if they are one patient, "
                "name the patient under `group`, or exclude the copies",
                involved,
                (Fix((), "exclude", list(dict.fromkeys(second for _, second in ids))),),
            )


def check_equal_outcomes(cohort: Cohort, contents: Mapping[str, Content]) -> Iterator[DataWarning]:
    """A warning about cases of different groups with equal outcomes and equal values in every table.

    Args:
        contents: modality to what was read of it.
    """
    covariates: dict[str, tuple[tuple[str, bytes], ...]] = dict.fromkeys(cohort.targets, ())
    for name, content in contents.items():
        if content.table is not None:
            rows = np.where(np.isnan(content.table), -np.inf, content.table)
            for case, row in zip(content.cases, rows, strict=True):
                if case.id in covariates:
                    covariates[case.id] += ((name, row.tobytes()),)
    cases = [case for case in cohort.cases if covariates.get(case.id)]
    outcomes = [astuple(cohort.targets[case.id]) for case in cases]
    found = copied(outcomes, [covariates[case.id] for case in cases], [case.group for case in cases])
    if found:
        sets = [[cases[i].id for i in of] for of in found]
        ids = tuple(id_ for of in sets for id_ in of)
        outcome = "class" if cohort.info.classes else "follow-up"
        yield DataWarning(
            "equal-outcomes",
            "cases",
            f"{len(ids)} of {len(cohort.cases)} cases have the {outcome} and all values of a case of another group "
            f"({listed([' and '.join(of[:3]) for of in sets])}), as slides of one patient do: name the patient under "
            "`group`, or exclude all but one case of each, or a patient stands on both sides of a split",
            ids,
            (Fix((), "exclude", [id_ for of in sets for id_ in of[1:]]),),
        )


def like_outcome(column: str) -> bool:
    """Whether a name has an outcome's word in it: OS_months, vitalStatus, days_to_death."""
    # Letters after digits belong to a symbol (FANCD2OS is a gene); capitals after a digit begin no word.
    words = re.findall(r"[A-Z]+\d+[A-Z0-9]+(?![a-z])|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", column)
    lowered = [word.lower() for word in words]
    return bool(OUTCOME_WORDS & set(lowered)) or any(
        f" {phrase} " in f" {' '.join(lowered)} " for phrase in OUTCOME_PHRASES
    )


def _id_like(content: Content) -> list[str]:
    codes, columns = content.modality.use.categorical, []
    for i, column in enumerate(content.columns):
        values = content.cells[~np.isnan(content.cells[:, i]), i] if column in codes else np.empty(0)
        if len(values) >= MIN_ID_CASES and len(np.unique(values)) >= ID_LEVELS * len(values):
            columns.append(column)
    return columns


def _columns_where(test: Callable[[Content], NDArray[np.bool_]]) -> Callable[[Content], list[str]]:
    """A function that gives the names of the columns for which a test holds."""
    return lambda content: [content.columns[i] for i in np.flatnonzero(test(content))]


def _any_event(test: Callable[[Floats, Bools], Bools], content: Content) -> Bools:
    """(column,) whether a column reveals who had the event, or who is of some class."""
    found = [test(content.cells[content.followed], event) for event in content.events]
    return np.asarray(np.any(found, axis=0), dtype=np.bool_)


def _predicts_time(content: Content) -> Bools:
    """(column,) whether a column reveals the follow-up; none does where there is none."""
    if content.time is None:
        return np.zeros(content.cells.shape[1], dtype=np.bool_)
    return predicts_time(content.cells[content.followed], content.time, content.events[0])


_BASELINE = "exclude everything not known at baseline"
_COLUMN_CHECKS: Mapping[Kind, tuple[Callable[[Content], list[str]], str, str]] = {
    "named-like-outcome": (
        lambda content: [c for c in content.columns if like_outcome(c)],
        "has an outcome-like name; exclude it if it is an outcome",
        "have outcome-like names; exclude those that are outcomes",
    ),
    "predicts-event": (
        _columns_where(lambda c: _any_event(predicts_event, c)),
        f"reveals the outcome (event or class: AUC above {REVEALING} or below {1 - REVEALING:.2f}): {_BASELINE}",
        f"reveal the outcome (event or class: AUC above {REVEALING} or below {1 - REVEALING:.2f}): {_BASELINE}",
    ),
    "filled-by-event": (
        _columns_where(lambda c: _any_event(filled_by_event, c)),
        f"reveals the outcome (whether it is filled depends on the event or class): {_BASELINE}",
        f"reveal the outcome (whether they are filled depends on the event or class): {_BASELINE}",
    ),
    "predicts-time": (
        _columns_where(_predicts_time),
        f"reveals the outcome (c-index above {REVEALING} or below {1 - REVEALING:.2f}): {_BASELINE}",
        f"reveal the outcome (c-index above {REVEALING} or below {1 - REVEALING:.2f}): {_BASELINE}",
    ),
    "level-of-event": (
        _columns_where(lambda c: _any_event(pure_level, c)),
        f"has a value that only cases with, or only cases without the event or class have: {_BASELINE}",
        f"have a value that only cases with, or only cases without the event or class have: {_BASELINE}",
    ),
    "constant": (
        _columns_where(lambda c: constant(c.cells)),
        "has the same value in all cases; exclude it",
        "have the same value in all cases; exclude them",
    ),
    "id-like": (
        _id_like,
        "is categorical with about one level per case, like an id or a date; exclude it, or write numbers",
        "are categorical with about one level per case, like an id or a date; exclude them, or write numbers",
    ),
}
"""Kind of warning to what finds its columns, and the message for one and for several columns."""


_OF_OUTCOME: tuple[Kind, ...] = ("predicts-event", "filled-by-event", "predicts-time", "level-of-event")
"""A column that reveals the outcome in several ways is told once."""
