"""Concordance (Harrell's and Uno's c) and the weighted area under the ROC curve.

Pairs of cases are matrices, so that bootstrap weights of patients enter by one matrix product: with w one weight per
case, C the comparable pairs and A the concordant ones, c = w'Aw / w'Cw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TIED_RISK = 1e-8
"""Risks that differ by no more than this are tied, as in scikit-survival."""

_CHUNK = 4_000_000  # numbers of a weighted product held at once: 32 MB


@dataclass(frozen=True)
class Pairs:
    """Comparable pairs: which cases are known to have the event before which others.

    Attributes:
        events: (event,) positions of the cases with an observed event.
        matrix: (event, case) 1.0 where the event is known to come before the other case's, else 0.0.
    """

    events: Ints
    matrix: Floats

    @property
    def any(self) -> bool:
        """Whether at least one pair is comparable."""
        return bool(self.matrix.any())


def comparable_pairs(time: NDArray[Any], event: NDArray[Any], events: Ints | None = None) -> Pairs:
    """The comparable pairs of some cases.

    A case with an event is comparable to every case with a longer follow-up, and to cases censored at the same time.

    Args:
        time: (case,) follow-up in months.
        event: (case,) bool, True = observed.
        events: (event,) positions of the observed events whose pairs are wanted; None for all.

    Source: Harrell, Lee and Mark 1996, with the treatment of tied times of scikit-survival.
    """
    time, event = np.asarray(time, dtype=np.float64), np.asarray(event, dtype=bool)
    events = np.flatnonzero(event) if events is None else events
    later = time[None, :] > time[events, None]
    # Who is censored at the time of an event was still free of the event then.
    censored_then = (time[None, :] == time[events, None]) & ~event[None, :]
    return Pairs(events.astype(np.int64), (later | censored_then).astype(np.float64))


def concordant_pairs(pairs: Pairs, risk: NDArray[Any]) -> Floats:
    """(event, case): 1 where a comparable pair has the higher risk at the earlier event, 0.5 where tied, else 0.

    Args:
        risk: (case,) finite; higher = earlier event.
    """
    return np.asarray(twice_concordant(pairs, risk) * (0.5 * pairs.matrix), dtype=np.float64)


def twice_concordant(pairs: Pairs, risk: NDArray[Any]) -> NDArray[np.int8]:
    """(event, case): 2 where the risk at the event is the higher one, 1 where tied, else 0; not only comparable pairs.

    Whole numbers of one byte: matrices of thousands of cases are read from memory eight times as fast.

    Args:
        risk: (case,) finite; higher = earlier event.
    """
    risk = np.asarray(risk, dtype=np.float64)
    ranks = tied_ranks(risk)
    own = ranks[pairs.events, None]
    higher, not_lower = own > ranks, own >= ranks
    if ranks is risk:  # no ranks have these ties
        gap = own - risk
        higher, not_lower = gap > TIED_RISK, gap >= -TIED_RISK
    twice: NDArray[np.int8] = np.add(higher, not_lower, dtype=np.int8)
    return twice


def distinct_risks(risk: NDArray[Any]) -> int:
    """How many different risks there are, where risks that concordance takes as tied are one."""
    return 1 + int((np.diff(np.sort(np.asarray(risk, dtype=np.float64))) > TIED_RISK).sum()) if len(risk) else 0


def tied_ranks(risk: NDArray[Any]) -> Floats:
    """(case,) dense ranks from 1, equal where risks tie: the same concordance without a tolerance.

    Ties within a tolerance are not transitive. Where a chain of ties is longer than the tolerance, no ranks have the
    same concordance, and the risks themselves are returned.

    Args:
        risk: (case,) finite.
    """
    risk = np.asarray(risk, dtype=np.float64)
    order = np.argsort(risk, kind="stable")
    ascending = risk[order]
    starts = np.concatenate([[True], np.diff(ascending) > TIED_RISK]) if len(risk) else np.zeros(0, dtype=bool)
    rank = np.cumsum(starts)
    # A risk further from the first of its rank than the tolerance: the end of a chain.
    if (ascending - ascending[starts][rank - 1] > TIED_RISK).any():
        return risk
    ranks = np.empty(len(risk))
    ranks[order] = rank
    return ranks


def harrell_c(
    time: NDArray[Any], event: NDArray[Any], risk: NDArray[Any], weights: NDArray[Any] | None = None
) -> float:
    """Harrell's c: share of comparable pairs in which the earlier event has the higher risk; ties count one half.

    Args:
        time: (case,) follow-up in months.
        event: (case,) bool, True = observed.
        risk: (case,) finite; higher = earlier event.
        weights: (case,) weight of the pairs whose earlier event is this case's; None for 1. With the squared inverse
            probability of being uncensored this is Uno's c.

    Returns:
        in [0, 1], 0.5 is chance; NaN without a comparable pair.

    Source: Harrell, Lee and Mark 1996; Uno et al. 2011.
    """
    time, event, risk = np.asarray(time, np.float64), np.asarray(event, bool), np.asarray(risk, np.float64)
    events = np.flatnonzero(event)
    concordant = comparable = 0.0
    step = max(1, _CHUNK // max(1, len(time)))
    for start in range(0, len(events), step):  # in chunks: all pairs of 10,000 cases would take 800 MB
        pairs = comparable_pairs(time, event, events[start : start + step])
        counts = concordant_pairs(pairs, risk).sum(axis=1), pairs.matrix.sum(axis=1)
        w = np.ones(len(pairs.events)) if weights is None else np.asarray(weights, np.float64)[pairs.events]
        concordant, comparable = concordant + float(w @ counts[0]), comparable + float(w @ counts[1])
    return concordant / comparable if comparable > 0 else float("nan")


def pair_weight(pairs: Pairs, weights: Floats) -> Floats:
    """(draw,) total weight w'Cw of the comparable pairs, for each row w of `weights` (draw, case)."""
    reach = weights @ pairs.matrix.T
    return np.asarray(np.einsum("de,de->d", weights[:, pairs.events], reach))


def weighted_c(pairs: Pairs, concordant: Floats, weights: Floats, total: Floats | None = None) -> Floats:
    """Harrell's c of several models, each under many weightings of the same cases.

    Args:
        concordant: (model, event, case) from `concordant_pairs`; a mean over mask draws gives the mean of their c.
        weights: (draw, case), non-negative.
        total: (draw,) `pair_weight` of these weights, where it is known.

    Returns:
        (draw, model); NaN where no comparable pair has weight.
    """
    draws, events = len(weights), len(pairs.events)
    result = np.empty((draws, len(concordant)))
    own = weights[:, pairs.events]
    step = max(1, _CHUNK // max(1, draws * events))
    for start in range(0, len(concordant), step):
        part = concordant[start : start + step]
        # Aw of all models and draws by one matrix product, then w'(Aw) as a sum over the events.
        reach = weights @ part.reshape(-1, weights.shape[1]).T
        result[:, start : start + step] = np.einsum("de,dme->dm", own, reach.reshape(draws, len(part), events))
    of_all = (pair_weight(pairs, weights) if total is None else total)[:, None]
    return np.divide(result, of_all, out=np.full_like(result, np.nan), where=of_all > 0)


def weighted_auc(risk: NDArray[Any], weights: NDArray[Any], controls: NDArray[Any]) -> float:
    """Area under the ROC curve of weighted positives, by trapezoids; in [0, 1], 0.5 is chance.

    Neighbouring risks within the tolerance share one threshold.

    Args:
        risk: (case,) finite; higher = earlier event.
        weights: (case,) of the positives (an event by some time); 0 for the others. At least one is positive.
        controls: (case,) bool (still followed after that time). At least one is True.

    Source: Uno et al. 2007, as scikit-survival computes it.
    """
    risk = np.asarray(risk, dtype=np.float64)
    order = np.argsort(-risk)
    # Only the last of tied risks is a threshold, so that the curve passes through all of them at once.
    thresholds = np.append(np.abs(np.diff(risk[order])) > TIED_RISK, True)
    hits, false = (np.concatenate([[0.0], np.cumsum(x[order])[thresholds]]) for x in (weights, controls))
    return float(np.trapezoid(hits / hits[-1], false / false[-1]))
