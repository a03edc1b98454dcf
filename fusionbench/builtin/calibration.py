"""Expected and observed events in the time intervals of a model's survival curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusionbench.core.rounding import ROUNDING

if TYPE_CHECKING:
    from fusionbench.core.types import Floats


def interval_mass(survival: Floats, times: Floats, time: NDArray[Any], event: NDArray[Any]) -> tuple[Floats, Floats]:
    """Expected and observed events in the intervals (0, t_1], ..., (t_J-1, t_J], (t_J, inf).

    Args:
        survival: (case, time) S at `times`, non-increasing.
        times: (time,) ascending, positive.
        time: (case,) follow-up, in the unit of `times`.
        event: (case,) bool; a censored case is spread in proportion to its own S after its time of censoring, where
            S is linear between `times` and constant after the last.

    Returns:
        (interval,) expected and (interval,) observed; each sums to the number of cases.
    """
    n = len(survival)
    bounds = np.concatenate([np.ones((n, 1)), survival, np.zeros((n, 1))], axis=1)  # S(0) = 1 ... S(inf) = 0
    expected = -np.diff(bounds, axis=1)  # P(event in the interval) = S at its start - S at its end
    own = np.searchsorted(times, time, side="left")
    rows = np.arange(n)
    at_own = np.zeros_like(expected)
    at_own[rows, own] = 1.0
    # P(event later | censored at c) in an interval is the fall of S there after c, over S(c).
    left = _survival_at(bounds, times, time, own)
    later = expected * (np.arange(expected.shape[1]) > own[:, None])
    later[rows, own] = left - bounds[rows, own + 1]
    spread = ~np.asarray(event, dtype=bool) & (left > 0)  # S = 0 leaves nothing to spread: the case stays
    shares = later / np.where(spread, left, 1.0)[:, None]
    observed = np.where(spread[:, None], shares, at_own)
    return expected.sum(axis=0), observed.sum(axis=0)


def _survival_at(bounds: Floats, times: Floats, time: NDArray[Any], own: NDArray[np.int64]) -> Floats:
    """(case,) each case's S at its own time, which lies in interval `own`; linear between `times`."""
    knots = np.concatenate([[0.0], times])
    rows, end = np.arange(len(bounds)), np.minimum(own + 1, len(times))
    width = knots[end] - knots[own]
    share = np.divide(time - knots[own], width, out=np.zeros(len(bounds)), where=width > 0)
    start = bounds[rows, own]
    return np.asarray(start + (bounds[rows, end] - start) * share, dtype=np.float64)


def merge_intervals(expected: Floats, least: float) -> NDArray[np.int64]:
    """(group,) first interval of each group; intervals are merged from the left until each group expects `least`.

    The remaining ones at the end are merged into the last group. The groups depend on predictions only: chosen by
    outcomes, they would invalidate the test.
    """
    least *= 1 - ROUNDING  # sums of falls of S that are `least` exactly may be just below
    starts, total = [0], 0.0
    for i, mass in enumerate(expected):
        if total >= least:
            starts.append(i)
            total = 0.0
        total += float(mass)
    if total < least and len(starts) > 1:
        starts.pop()
    return np.asarray(starts, dtype=np.int64)
