"""Suspicions about times and events: zeros, the unit, and which way round censoring is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fusionbench.data.inspection.suspicion import Suspicion, listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusionbench.data.cohort import Cohort

LONGEST, SHORTEST = 600.0, 12.0
"""Months: nobody is followed for 50 years, and a cohort whose longest follow-up is under one year is rare."""

TAIL = 0.1
"""Share of the cases with the longest times, which are mostly censored, since a study ends."""
TAIL_EVENTS = 0.75
LONGER = 0.55
"""Chance from which on it is strange that an event's time is longer than a censored one; about one half or less is
usual, since an event ends what would have gone on. With both shares, none of 13 cohorts (HANCOCK, TCGA, those of
scikit-survival) is accused, and 11 of them are where events and censorings are exchanged."""
LEAST = 10
"""Cases with and without event from which on these two shares mean something."""


def follow_up_warnings(cohort: Cohort) -> Iterator[Suspicion]:
    """What looks wrong about times and events."""
    targets = cohort.targets
    time = np.array([t.time for t in targets.values()])
    event = np.array([t.event for t in targets.values()], dtype=bool)
    at_zero = [case for case, t in targets.items() if t.time == 0]
    if at_zero:
        yield Suspicion(
            "time-zero",
            "follow-up",
            f"{len(at_zero)} of {len(time)} cases have a time of 0 ({listed(at_zero)}): they died or were lost on the "
            "day of entry, or their time is not known; leave them out if it is not",
        )
    yield from _unit(time)
    yield from _way_round(time, event)


def _unit(time: NDArray[np.float64]) -> Iterator[Suspicion]:
    longest, median = float(time.max()), float(np.median(time))
    seen = f"times have the median {median:.2f} and the maximum {longest:.2f} months"
    if longest > LONGEST:
        yield Suspicion(
            "time-unit",
            "follow-up",
            f"{seen} ({longest / 12:.0f} years): is the unit right? Days declared as months look like this",
        )
    elif longest < SHORTEST:
        yield Suspicion(
            "time-unit",
            "follow-up",
            f"{seen}: is the unit right? Months declared as days or weeks, and years as months, look like this",
        )


def _way_round(time: NDArray[np.float64], event: NDArray[np.bool_]) -> Iterator[Suspicion]:
    """A cohort with events and censorings exchanged: the events come late, and the longest times are all events."""
    n, observed = len(time), int(event.sum())
    if min(observed, n - observed) < LEAST:
        return
    later = _chance_later(time[event], time[~event])
    size = max(1, round(TAIL * n))
    tail = int(event[np.argsort(time, kind="stable")[-size:]].sum())
    if later >= LONGER and tail >= TAIL_EVENTS * size:
        yield Suspicion(
            "censorship-reversed",
            "follow-up",
            f"censorship may be the wrong way round: {observed} of {n} cases have the event, at a median time of "
            f"{np.median(time[event]):.1f} months against {np.median(time[~event]):.1f} of the censored, and so have "
            f"{tail} of the {size} longest followed; exchange `event` and `censorship` if 1 means censored",
        )


def _chance_later(events: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Probability that an event's time exceeds a censored time, ties counting half (Mann and Whitney)."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, events, side="left") + np.searchsorted(ordered, events, side="right")
    return float(below.mean() / (2 * len(others)))
