"""Suspicions about columns: what knows the outcome, is named like one, says nothing, or says who a case is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fusionbench.data.inspection.leakage import constant, predicts_event, predicts_time
from fusionbench.data.inspection.suspicion import Kind, Suspicion, listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusionbench.data.cohort import Cohort
    from fusionbench.data.inspection.contents import Content

    Floats = NDArray[np.float64]

OUTCOME_WORDS = frozenset(
    {
        *("os", "dfs", "pfs", "rfs", "dss", "efs", "mfs", "pfi", "dfi", "ttp", "followup", "survival", "mortality"),
        *("death", "dead", "died", "deceased", "alive", "vital", "event", "outcome"),
        *("recurrence", "recurred", "relapse", "relapsed", "progression", "progressed"),
        *("censor", "censored", "censoring", "censorship"),
    }
)
OUTCOME_PHRASES = ("follow up", "last contact", "last seen", "vital status", "days to", "time to", "months to")
ID_LIKE = 0.9
LEAST = 10
"""A column of codes with so many levels a case, in at least so many cases, names cases."""


def column_warnings(cohort: Cohort, contents: Mapping[str, Content]) -> Iterator[Suspicion]:
    """Columns of a cohort's tables that look wrong: constant, equal, named like an outcome, and the like."""
    for name, content in contents.items():
        if content.table is not None:
            for kind, (find, text) in _FINDERS.items():
                found = find(content)
                if found:
                    columns = f"{len(found)} column{'s' if len(found) > 1 else ''}"
                    yield Suspicion(kind, name, f"{name}: {columns} {text}: {listed(found)}")


def like_outcome(column: str) -> bool:
    """Whether a name has an outcome's word in it: OS_months, vitalStatus, days_to_death."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", column)
    lowered = [word.lower() for word in words]
    return bool(OUTCOME_WORDS & set(lowered)) or any(
        f" {phrase} " in f" {' '.join(lowered)} " for phrase in OUTCOME_PHRASES
    )


def _id_like(content: Content) -> list[str]:
    codes, found = content.modality.use.categorical, []
    for i, column in enumerate(content.columns):
        values = content.cells[~np.isnan(content.cells[:, i]), i] if column in codes else np.empty(0)
        if len(values) >= LEAST and len(np.unique(values)) >= ID_LIKE * len(values):
            found.append(column)
    return found


def _where(found: Callable[[Content], NDArray[np.bool_]]) -> Callable[[Content], list[str]]:
    """The names of the columns for which a test holds."""
    return lambda content: [content.columns[i] for i in np.flatnonzero(found(content))]


_FINDERS: Mapping[Kind, tuple[Callable[[Content], list[str]], str]] = {
    "named-like-outcome": (
        lambda content: [c for c in content.columns if like_outcome(c)],
        "named like an outcome, which a model must not see; leave out what is one",
    ),
    "predicts-event": (
        _where(lambda c: predicts_event(c.cells[c.followed], c.event)),
        "telling exactly who had the event; leave out what was not known at entry",
    ),
    "filled-by-event": (
        _where(lambda c: predicts_event(np.isnan(c.cells[c.followed]) * 1.0, c.event)),
        "filled exactly where the event was, or was not, observed; leave out what was not known at entry",
    ),
    "predicts-time": (
        _where(lambda c: predicts_time(c.cells[c.followed], c.time)),
        "ranking the cases almost exactly as the time does; leave out what was not known at entry",
    ),
    "constant": (_where(lambda c: constant(c.cells)), "with one value in all cases, saying nothing"),
    "id-like": (_id_like, "categorical with a level a case, like an id or a date; leave it out, or write numbers"),
}
