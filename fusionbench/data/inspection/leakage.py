"""Which columns of a table reveal the outcome, or are constant; all columns at once, since omics have thousands."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

REVEALING = 0.9
"""Rank correlation with the time above which a column reveals it."""
CANDIDATE = 0.75
"""Approximate rank correlation above which the exact one is computed."""
MIN_CASES = 20
"""Cases with a value from which on a correlation means something."""
MAX_BY_CHANCE = 0.01
"""A column gets a warning only where fewer of the modality's columns than this are expected to separate by chance."""


def predicts_event(table: Floats, event: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(column,) True where a threshold, or a few levels, separate cases with the event exactly from those without.

    Only where that is unlikely by chance, given the number of columns: under permutation, a threshold separates k of n
    cases with probability 2 / C(n, k), and L levels with at most 2^L / C(n, k).

    Args:
        table: (case, column), NaN = no value.
        event: (case,) True = observed.
    """
    (low, high), (low_other, high_other) = _range(table[event]), _range(table[~event])
    separated = (low > high_other) | (high < low_other)
    # Counted for all columns at once; only columns with few levels are looked at one by one.
    known = (~np.isnan(table)).sum(axis=0)
    levels = 1 + (np.diff(np.sort(table, axis=0), axis=0) > 0).sum(axis=0)
    revealing = np.zeros(table.shape[1], dtype=bool)
    for i in np.flatnonzero(separated | (levels <= known // 3)):
        died, others = (x[~np.isnan(x)] for x in (table[event, i], table[~event, i]))
        if died.size and others.size and (separated[i] or not np.isin(died, others).any()):
            log_ways = math.log(2) * (1 if separated[i] else float(levels[i]))
            # Logarithms: the binomial coefficient of a cohort exceeds float64.
            expected = math.log(table.shape[1]) + log_ways - _log_binomial(died.size, others.size)
            revealing[i] = expected <= math.log(MAX_BY_CHANCE)
    return revealing


def _range(table: Floats) -> tuple[Floats, Floats]:
    """(column,) smallest and largest value; (inf, -inf) for a column without values."""
    empty = np.isnan(table)
    low = np.where(empty, np.inf, table).min(axis=0, initial=np.inf)
    high = np.where(empty, -np.inf, table).max(axis=0, initial=-np.inf)
    return np.asarray(low), np.asarray(high)


def _log_binomial(k: int, rest: int) -> float:
    """log of the binomial coefficient (k + rest) over k."""
    return math.lgamma(k + rest + 1) - math.lgamma(k + 1) - math.lgamma(rest + 1)


def predicts_time(table: Floats, time: Floats) -> NDArray[np.bool_]:
    """(column,) True where Spearman's rank correlation with the time exceeds `REVEALING`, among cases with a value.

    Args:
        table: (case, column), NaN = no value.
        time: (case,).
    """
    from scipy.stats import spearmanr

    revealing = np.zeros(table.shape[1], dtype=bool)
    for i in np.flatnonzero(_candidates(table, time)):
        known = ~np.isnan(table[:, i])
        values = table[known, i]
        if len(values) >= MIN_CASES and min(np.ptp(values), np.ptp(time[known])) > 0:
            revealing[i] = abs(spearmanr(values, time[known]).statistic) > REVEALING
    return revealing


def _candidates(table: Floats, time: Floats) -> NDArray[np.bool_]:
    """(column,) True where an approximate rank correlation is high; ties are broken by the order of rows."""
    known = ~np.isnan(table)
    count = np.maximum(known.sum(axis=0), 1)
    x, y = _centred(_ranks(table), known, count), _centred(_ranks(time[:, np.newaxis]), known, count)
    # Pearson's correlation of ranks; constant columns have a spread of 0 and are never candidates.
    spread = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    return np.asarray(np.abs((x * y).sum(axis=0)) > CANDIDATE * np.where(spread > 0, spread, np.inf))


def _centred(ranks: Floats, known: NDArray[np.bool_], count: NDArray[np.int64]) -> Floats:
    """(case, column) difference to the column's mean over known cells; 0 in missing cells."""
    kept = np.where(known, ranks, 0.0)
    return np.where(known, kept - kept.sum(axis=0) / count, 0.0)


def _ranks(table: Floats) -> Floats:
    """(case, column) rank of each value in its column, from 0; NaN last."""
    ranks = np.empty_like(table)
    order = np.arange(len(table), dtype=np.float64)[:, np.newaxis]
    np.put_along_axis(ranks, np.argsort(table, axis=0, kind="stable"), order, axis=0)
    return ranks


def constant(table: Floats) -> NDArray[np.bool_]:
    """(column,) True where all cases with a value have the same; NaN = no value."""
    low, high = _range(table)
    return np.asarray(low == high)
