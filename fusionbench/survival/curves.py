"""Time bins, survival curves and baseline hazards as numpy arrays; does not load torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusionbench.core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def time_bins(time: NDArray[Any], event: NDArray[Any], n_bins: int) -> tuple[float, ...]:
    """Inner edges of `n_bins` time bins: quantiles of the event times; the outer edges are open.

    Fewer than n_bins - 1 edges where quantiles tie or an edge is the earliest event, before which no event lies.

    Args:
        time: (case,) months, of training cases only.
        event: (case,) bool, True = observed.

    Raises:
        DataError: if no case has an observed event.
    """
    observed = np.asarray(time, dtype=np.float64)[np.asarray(event, dtype=bool)]
    if observed.size == 0:
        raise DataError(f"none of the {len(time)} training cases has an observed event, so time bins have no edges")
    # Quantiles of events, not of all times: so that every bin has about the same number of events to learn from.
    position = np.arange(1, n_bins) * (observed.size - 1)  # of each edge among the sorted times, times n_bins
    edges = np.quantile(observed, np.arange(1, n_bins) / n_bins)
    # An edge that is an event's own time has to be that time to the last bit: bins are closed on the left.
    own = position % n_bins == 0
    edges = np.unique(np.where(own, np.sort(observed)[position // n_bins], edges))
    return tuple(float(edge) for edge in edges if edge > observed.min())


def assign_bins(time: NDArray[Any], edges: Sequence[float]) -> NDArray[np.int64]:
    """(case,) bin of each time, from 0: the number of inner edges <= time, so bins are closed on the left."""
    return np.searchsorted(np.asarray(edges, dtype=np.float64), time, side="right").astype(np.int64)


def class_weights(
    time_bin: NDArray[Any], n_bins: int, kind: Literal["none", "inverse", "inverse_root"]
) -> NDArray[np.float64]:
    """(bin,) class weights from the counts n_k of the bins, scaled to a mean of 1 over cases; 0 for an empty bin.

    The mean is sum_k n_k w_k / N, so that the loss keeps its scale whatever the kind.

    Args:
        time_bin: (case,) bins of the training cases.
        kind: "none" is flat, "inverse" is 1 / n_k, "inverse_root" is 1 / sqrt(n_k).
    """
    power = {"none": 0.0, "inverse": -1.0, "inverse_root": -0.5}[kind]
    # An empty bin has no case to weigh; max avoids 0 ** -1.
    counts = np.bincount(time_bin, minlength=n_bins).astype(np.float64)
    raw = np.where(counts > 0, np.maximum(counts, 1.0) ** power, 0.0)
    return np.asarray(raw * counts.sum() / (raw * counts).sum(), dtype=np.float64)


def interpolate_survival(survival: Floats, times: Floats, grid: Floats) -> Floats:
    """(case, grid) survival, linearly interpolated through S(0) = 1 and S at `times`; constant after the last time.

    Args:
        survival: (case, time) S at `times`, non-increasing along time; so is the result.
        times: (time,) positive and ascending, in the unit of `grid`.
        grid: (grid,) times at which S is wanted.
    """
    knots = np.concatenate([[0.0], times])
    values = np.concatenate([np.ones((len(survival), 1)), survival], axis=1)
    left = np.clip(np.searchsorted(knots, grid, side="right") - 1, 0, len(knots) - 2)
    share = np.clip((grid - knots[left]) / (knots[left + 1] - knots[left]), 0.0, 1.0)
    start, end = values[:, left], values[:, left + 1]
    # Not below `end`, which rounding could lead to: the curve would rise there.
    return np.asarray(np.maximum(start + (end - start) * share, end), dtype=np.float64)


def breslow_baseline(log_risk: NDArray[Any], time: NDArray[Any], event: NDArray[Any]) -> tuple[Floats, Floats]:
    """Breslow's estimate of the cumulative baseline hazard H; S(t | x) = exp(-H(t) exp(log_risk)).

    H(t) = sum over event times t_i <= t of d_i / sum_{j: t_j >= t_i} exp(log_risk_j), with d_i events at t_i.

    Args:
        log_risk: (case,) of the training cases; higher = earlier event.
        time: (case,) months.
        event: (case,) bool, True = observed.

    Returns:
        (event time,) distinct times of observed events, ascending, and H at them, a right-continuous step function.

    Source: Breslow 1972.
    """
    log_risk, time = np.asarray(log_risk, dtype=np.float64), np.asarray(time, dtype=np.float64)
    times, deaths = np.unique(time[np.asarray(event, dtype=bool)], return_counts=True)
    shift = log_risk.max()  # exp of a large log risk would overflow; the shift cancels in the quotient
    at_risk = (time[None, :] >= times[:, None]) @ np.exp(log_risk - shift)
    return times, np.cumsum(deaths / at_risk) * np.exp(-shift)
