"""Which columns of a table reveal the outcome, or are constant; all columns at once, since omics have thousands.

A column is compared with the outcome by a concordance: the probability that the earlier of two comparable cases has the
larger value. Harrell's c compares an event with everybody followed longer, the AUC of the event compares cases with and
without it. Ranks of a column give the same concordance as its values. Most columns are far from revealing, so that a
sample of pairs tells them apart; the others are measured with many more pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

REVEALING = 0.85
"""Concordance above which, or below one minus which, a column reveals the outcome."""
SCREENED, MEASURED = (192, 2048), 200_000
"""Pairs drawn for every column, for those that may reveal the outcome by these, and for those that still may: the
last give a standard error of 0.001."""
MISSED = 1e-6
"""Probability that a revealing column is not seen in the first sample (Hoeffding's bound)."""
MAX_BY_CHANCE = 0.01
"""A column gets a warning only where fewer of the modality's columns than this are expected by chance."""
MIN_LEVEL = 10
"""Cases of a level from which on it is strange that all or none of them had the event."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Comparable pairs of cases, drawn with replacement.

    Attributes:
        first, second: (pair,) positions; the outcome of `first` comes before that of `second`.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]

    def __getitem__(self, n: int) -> Pairs:
        """The first n pairs."""
        return Pairs(self.first[:n], self.second[:n])


def time_pairs(time: Floats, event: Bools, n: int = MEASURED) -> Pairs:
    """Pairs of a case with the event and one that was followed longer, each equally likely.

    Args:
        time: (case,) months. event: (case,) True = observed.
        n: number of pairs; none where no pair is comparable.
    """
    order = np.argsort(time, kind="stable")
    later = np.searchsorted(time[order], time[order], side="right")  # (case,) position of the first longer time
    at_risk = np.where(event[order], len(time) - later, 0)
    if not at_risk.any():
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64))
    # A fixed seed: the same cohort gives the same warnings every time.
    rng = np.random.default_rng(0)
    first = rng.choice(len(time), n, p=at_risk / at_risk.sum())
    second = rng.integers(later[first], len(time))
    return Pairs(order[first], order[second])


def event_pairs(event: Bools, n: int = MEASURED) -> Pairs:
    """Pairs of a case with and a case without the event: their concordance is the AUC of the event."""
    return time_pairs(np.where(event, 0.0, 1.0), event, n)


def concordance(table: Floats, pairs: Pairs) -> tuple[Floats, NDArray[np.int64]]:
    """(column,) share of pairs in which `first` has the larger value, ties counting half, and pairs with two values.

    Args:
        table: (case, column), NaN = no value. 0.5 where no pair has two values.
    """
    one, two = table[pairs.first], table[pairs.second]
    larger, smaller = (one > two).sum(axis=0), (one < two).sum(axis=0)  # NaN compares False
    n = (larger + smaller) + (one == two).sum(axis=0)
    return np.asarray(0.5 + (larger - smaller) / (2 * np.maximum(n, 1))), n


def predicts_time(table: Floats, time: Floats, event: Bools) -> Bools:
    """(column,) True where Harrell's c of the values, or of their absolute values, is revealing.

    The times of all cases count, too, as if each were an event: a column may hold the follow-up of the censored.

    Args:
        table: (case, column), NaN = no value. time: (case,) months. event: (case,) True = observed.
    """
    everybody = np.ones(len(event), dtype=bool)
    return _reveals(table, time, event) | _reveals(table, time, everybody)


def predicts_event(table: Floats, event: Bools) -> Bools:
    """(column,) True where the AUC of the event of the values, or of their absolute values, is revealing.

    Args:
        table: (case, column), NaN = no value. event: (case,) True = observed.
    """
    return _reveals(table, np.where(event, 0.0, 1.0), event)


def filled_by_event(table: Floats, event: Bools) -> Bools:
    """(column,) True where having a value reveals the event: by its AUC, or all or none of those without had it."""
    if event.all() or not event.any():
        return np.zeros(table.shape[1], dtype=bool)
    empty = np.isnan(table)
    of_events, of_others = empty[event].mean(axis=0), empty[~event].mean(axis=0)
    # The AUC of a variable with two values, in closed form.
    auc = 0.5 + (of_events - of_others) / 2
    deviation = math.sqrt((len(event) + 1) / (12 * max(1, int(event.sum()) * int((~event).sum()))))
    likely = _tail((REVEALING - 0.5) / deviation) * 2 * table.shape[1] <= MAX_BY_CHANCE
    n, events = empty.sum(axis=0), empty[event].sum(axis=0)
    found = (np.abs(auc - 0.5) > REVEALING - 0.5) & likely
    for size, k in ((n, events), (len(event) - n, event.sum() - events)):
        found |= (size < len(event)) & _pure(size, k, float(event.mean()))
    return np.asarray(found)


def _reveals(table: Floats, time: Floats, event: Bools) -> Bools:
    """(column,) True where the concordance with the time is beyond `REVEALING` in either direction, not by chance."""
    pairs, found = time_pairs(time, event), np.zeros(table.shape[1], dtype=bool)
    if not pairs.first.size:
        return found
    negative = np.flatnonzero((table < 0).any(axis=0))  # the others are their own absolute values
    for columns, values in ((np.arange(table.shape[1]), table), (negative, np.abs(table[:, negative]))):
        left = np.arange(len(columns))
        for n in SCREENED:
            estimate, known = concordance(values[:, left], pairs[n])
            margin = np.sqrt(math.log(1 / MISSED) / (2 * np.maximum(known, 1)))
            left = left[np.abs(estimate - 0.5) >= REVEALING - 0.5 - margin]
        for i in left:
            found[columns[i]] |= _revealing(values[:, i], time, event, pairs, table.shape[1])
    return found


def _revealing(values: Floats, time: Floats, event: Bools, pairs: Pairs, columns: int) -> bool:
    known = ~np.isnan(values)
    if not known.all():
        values, time, event = values[known], time[known], event[known]
        pairs = time_pairs(time, event)
    c = float(concordance(values[:, np.newaxis], pairs)[0][0])
    if abs(c - 0.5) <= REVEALING - 0.5:
        return False
    return 2 * columns * _tail(abs(c - 0.5) / _null_deviation(time, event)) <= MAX_BY_CHANCE


def _null_deviation(time: Floats, event: Bools) -> float:
    """Standard deviation of the concordance of a column without ties that has nothing to do with the outcome.

    The rank of an event among the w cases followed longer is uniform and independent of those of other events, so that
    the variance is the sum of w (w + 2) / 12 over (sum of w)^2. Events at one time share their w cases: the sum of
    their ranks has the variance of Mann and Whitney, k w (k + w + 1) / 12.
    """
    times, k = np.unique(time[event], return_counts=True)
    w = len(time) - np.searchsorted(np.sort(time), times, side="right")
    pairs = float((k * w).sum())
    return math.sqrt(float((k * w * (k + w + 1.0)).sum()) / 12) / pairs if pairs else math.inf


def _tail(z: float) -> float:
    """Upper tail of the normal distribution."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def pure_level(table: Floats, event: Bools) -> Bools:
    """(column,) True where a level of at least `MIN_LEVEL` cases holds events only, or none.

    The binomial bound: k cases, each with the event at the cohort's rate p, all have it with probability p^k and none
    with (1 - p)^k; times the number of columns and of levels that large, this is at most `MAX_BY_CHANCE`.

    Args:
        table: (case, column), NaN = no value. event: (case,) True = observed.
    """
    n, found = len(event), np.zeros(table.shape[1], dtype=bool)
    rate = float(event.mean()) if n else 0.0
    if n < MIN_LEVEL or not 0 < rate < 1:
        return found
    # A level of k cases takes k neighbours of the sorted column: columns without are left out.
    ordered = np.sort(table.T, axis=1)
    candidates = np.flatnonzero((ordered[:, MIN_LEVEL - 1 :] == ordered[:, : n - MIN_LEVEL + 1]).any(axis=1))
    if not candidates.size:
        return found
    columns = table.T[candidates]
    order = np.argsort(columns, axis=1)
    values = np.take_along_axis(columns, order, axis=1)
    starts = np.ones(values.shape, dtype=bool)
    starts[:, 1:] = values[:, 1:] != values[:, :-1]  # each NaN is a level of its own: too small to count
    at = np.flatnonzero(starts)
    size = np.diff(np.append(at, starts.size))
    events = np.add.reduceat(event[order].ravel().astype(np.int64), at)
    # A constant column has one level, of the cohort's own rate, so that it is never pure.
    found[candidates[at[_pure(size, events, rate)] // n]] = True
    return found


def _pure(size: NDArray[np.int64], events: NDArray[np.int64], rate: float) -> Bools:
    """(level,) True where all or none of a level's cases had the event, beyond chance; see `pure_level`."""
    large = size >= MIN_LEVEL
    log_p = np.where(events == size, math.log(rate), math.log1p(-rate)) * size
    unlikely = log_p + math.log(2 * max(1, int(large.sum()))) <= math.log(MAX_BY_CHANCE)
    return np.asarray(large & ((events == 0) | (events == size)) & unlikely)


def constant(table: Floats) -> Bools:
    """(column,) True where all cases with a value have the same; NaN = no value."""
    empty = np.isnan(table)
    low = np.where(empty, np.inf, table).min(axis=0, initial=np.inf)
    high = np.where(empty, -np.inf, table).max(axis=0, initial=-np.inf)
    return np.asarray(low == high)
