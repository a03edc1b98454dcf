"""Which columns of a table know the outcome, or nothing: pure numpy over all columns at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOSTLY_EQUAL = 0.9
"""Rank correlation with the time from which on a column knows it."""
MAYBE = 0.75
"""The same, roughly, from which on it is worth computing exactly."""
LEAST = 20
"""Cases with a value from which on a correlation means something."""
SELDOM = 0.01
"""A column is accused only where fewer of the modality's columns than this would separate the events by chance."""


def predicts_event(table: Floats, event: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(column,) where one threshold, or the levels of few, divide the cases with a value into event and not.

    Columns are accused only where so many cases cannot be divided so by chance, given how many columns there are.

    Args:
        table: (case, column), NaN = no value. event: (case,).
    """
    (low, high), (low_other, high_other) = _range(table[event]), _range(table[~event])
    divided = (low > high_other) | (high < low_other)
    # Levels are counted for all columns at once; few have so few that they are worth a look of their own.
    known = (~np.isnan(table)).sum(axis=0)
    levels = 1 + (np.diff(np.sort(table, axis=0), axis=0) > 0).sum(axis=0)
    found = np.zeros(table.shape[1], dtype=bool)
    for i in np.flatnonzero(divided | (levels <= known // 3)):
        died, others = (x[~np.isnan(x)] for x in (table[event, i], table[~event, i]))
        if died.size and others.size and (divided[i] or not np.isin(died, others).any()):
            ways = math.log(2) * (1 if divided[i] else float(levels[i]))
            found[i] = math.log(table.shape[1]) + ways - _log_binomial(died.size, others.size) <= math.log(SELDOM)
    return found


def _range(table: Floats) -> tuple[Floats, Floats]:
    """(column,) smallest and largest value; infinite the wrong way round where there is none."""
    empty = np.isnan(table)
    low = np.where(empty, np.inf, table).min(axis=0, initial=np.inf)
    high = np.where(empty, -np.inf, table).max(axis=0, initial=-np.inf)
    return np.asarray(low), np.asarray(high)


def _log_binomial(k: int, rest: int) -> float:
    """log of how many ways there are to choose k of k + rest."""
    return math.lgamma(k + rest + 1) - math.lgamma(k + 1) - math.lgamma(rest + 1)


def predicts_time(table: Floats, time: Floats) -> NDArray[np.bool_]:
    """(column,) where the values' ranks correlate with those of the time, among the cases with a value.

    Args:
        table: (case, column), NaN = no value. time: (case,).
    """
    from scipy.stats import spearmanr

    found = np.zeros(table.shape[1], dtype=bool)
    for i in np.flatnonzero(_maybe(table, time)):
        known = ~np.isnan(table[:, i])
        values = table[known, i]
        if len(values) >= LEAST and min(np.ptp(values), np.ptp(time[known])) > 0:
            found[i] = abs(spearmanr(values, time[known]).statistic) > MOSTLY_EQUAL
    return found


def _maybe(table: Floats, time: Floats) -> NDArray[np.bool_]:
    """(column,) worth an exact look: ranks correlate where the order of rows breaks ties, all columns at once."""
    known = ~np.isnan(table)
    count = np.maximum(known.sum(axis=0), 1)
    x, y = _centred(_ranks(table), known, count), _centred(_ranks(time[:, np.newaxis]), known, count)
    spread = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    return np.asarray(np.abs((x * y).sum(axis=0)) > MAYBE * np.where(spread > 0, spread, np.inf))


def _centred(ranks: Floats, known: NDArray[np.bool_], count: NDArray[np.int64]) -> Floats:
    """(case, column) distance from the column's mean over known cells; 0 elsewhere."""
    kept = np.where(known, ranks, 0.0)
    return np.where(known, kept - kept.sum(axis=0) / count, 0.0)


def _ranks(table: Floats) -> Floats:
    """(case, column) place of each value in its column, from 0; NaN last."""
    ranks = np.empty_like(table)
    places = np.arange(len(table), dtype=np.float64)[:, np.newaxis]
    np.put_along_axis(ranks, np.argsort(table, axis=0, kind="stable"), places, axis=0)
    return ranks


def constant(table: Floats) -> NDArray[np.bool_]:
    """(column,) where all cases with a value have the same; NaN = no value."""
    low, high = _range(table)
    return np.asarray(low == high)
