"""Harrell's c as matrices over pairs of cases, so that patient weights enter by one matrix product.

With w one weight per case, C the comparable pairs and A the concordant ones, c = w'Aw / w'Cw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TIED_RISK = 1e-8
"""Risks that differ by no more count as tied, as in scikit-survival."""

_CHUNK = 4_000_000  # numbers of a weighted product held at once: 32 MB


@dataclass(frozen=True)
class Pairs:
    """Which cases can be ordered by what was observed.

    Attributes:
        events: (event,) positions of the cases with an observed event.
        matrix: (event, case) 1.0 where the event is known to come before the other case's, else 0.0.
    """

    events: Ints
    matrix: Floats

    @property
    def any(self) -> bool:
        """At least one pair is comparable."""
        return bool(self.matrix.any())


def comparable_pairs(time: NDArray[Any], event: NDArray[Any], events: Ints | None = None) -> Pairs:
    """The comparable pairs of some cases.

    A case with an event is comparable to every case followed up for longer, and to one censored at the same time.

    Args:
        time: (case,) follow-up in months.
        event: (case,) bool, True = observed.
        events: positions of observed events, those whose pairs are wanted; all of them where it is left out.

    Source: Harrell, Lee and Mark 1996, with the treatment of tied times of scikit-survival.
    """
    time, event = np.asarray(time, dtype=np.float64), np.asarray(event, dtype=bool)
    events = np.flatnonzero(event) if events is None else events
    later = time[None, :] > time[events, None]
    censored_then = (time[None, :] == time[events, None]) & ~event[None, :]
    return Pairs(events.astype(np.int64), (later | censored_then).astype(np.float64))


def concordant_pairs(pairs: Pairs, risk: NDArray[Any]) -> Floats:
    """(event, case): 1 where the earlier event has the higher risk, 0.5 where risks tie, 0 elsewhere.

    Args:
        risk: (case,) finite; higher = earlier event.
    """
    risk = np.asarray(risk, dtype=np.float64)
    gap = risk[pairs.events, None] - risk[None, :]
    scores = (gap > TIED_RISK) + 0.5 * (np.abs(gap) <= TIED_RISK)
    return np.asarray(scores * pairs.matrix, dtype=np.float64)


def tied_ranks(risk: NDArray[Any]) -> Floats:
    """Dense ranks from 1, equal where risks tie, so that their concordance is that of the risks.

    Ties within a tolerance are not transitive: where a chain of them reaches further than the tolerance, no ranks have
    the same concordance, and the risks come back as they are.

    Args:
        risk: (case,) finite.
    """
    risk = np.asarray(risk, dtype=np.float64)
    order = np.argsort(risk, kind="stable")
    ascending = risk[order]
    starts = np.concatenate([[True], np.diff(ascending) > TIED_RISK]) if len(risk) else np.zeros(0, dtype=bool)
    rank = np.cumsum(starts)
    if (ascending - ascending[starts][rank - 1] > TIED_RISK).any():
        return risk
    ranks = np.empty(len(risk))
    ranks[order] = rank
    return ranks


def harrell_c(
    time: NDArray[Any], event: NDArray[Any], risk: NDArray[Any], weights: NDArray[Any] | None = None
) -> float:
    """Share of comparable pairs in which the earlier event has the higher risk, in [0, 1]; NaN without such a pair.

    Args:
        weights: (case,) of the pairs in which a case's event comes first; 1 for all where there are none. Uno's c has
            the squared inverse probability of being uncensored here.
    """
    time, event, risk = np.asarray(time, np.float64), np.asarray(event, bool), np.asarray(risk, np.float64)
    events = np.flatnonzero(event)
    concordant = comparable = 0.0
    step = max(1, _CHUNK // max(1, len(time)))
    for start in range(0, len(events), step):
        pairs = comparable_pairs(time, event, events[start : start + step])
        counts = concordant_pairs(pairs, risk).sum(axis=1), pairs.matrix.sum(axis=1)
        of = np.ones(len(pairs.events)) if weights is None else np.asarray(weights, np.float64)[pairs.events]
        concordant, comparable = concordant + float(of @ counts[0]), comparable + float(of @ counts[1])
    return concordant / comparable if comparable > 0 else float("nan")


def pair_weight(pairs: Pairs, weights: Floats) -> Floats:
    """(draw,) total weight of the comparable pairs under `weights` (draw, case)."""
    reach = weights @ pairs.matrix.T
    return np.asarray(np.einsum("de,de->d", weights[:, pairs.events], reach))


def weighted_c(pairs: Pairs, concordant: Floats, weights: Floats) -> Floats:
    """Harrell's c of several models under many weightings of the same cases.

    Args:
        concordant: (model, event, case) from `concordant_pairs`; a mean over mask draws gives the mean of their c.
        weights: (draw, case), non-negative.

    Returns:
        (draw, model); NaN where no comparable pair has weight.
    """
    draws, events = len(weights), len(pairs.events)
    result = np.empty((draws, len(concordant)))
    own = weights[:, pairs.events]
    step = max(1, _CHUNK // max(1, draws * events))
    for start in range(0, len(concordant), step):
        part = concordant[start : start + step]
        reach = weights @ part.reshape(-1, weights.shape[1]).T
        result[:, start : start + step] = np.einsum("de,dme->dm", own, reach.reshape(draws, len(part), events))
    total = pair_weight(pairs, weights)[:, None]
    return np.divide(result, total, out=np.full_like(result, np.nan), where=total > 0)


def weighted_auc(risk: NDArray[Any], weights: NDArray[Any], controls: NDArray[Any]) -> float:
    """Area under the ROC curve by trapezoids; risks that follow one another within the tolerance are one threshold.

    Args:
        risk: (person,) finite; higher = a case.
        weights: (person,) of cases; 0 for all others. Some are positive.
        controls: (person,) bool. Some are True.

    Source: Uno et al. 2007, as scikit-survival computes it.
    """
    risk = np.asarray(risk, dtype=np.float64)
    order = np.argsort(-risk)
    # the last of tied risks stands for them
    thresholds = np.append(np.abs(np.diff(risk[order])) > TIED_RISK, True)
    hits, false = (np.concatenate([[0.0], np.cumsum(x[order])[thresholds]]) for x in (weights, controls))
    return float(np.trapezoid(hits / hits[-1], false / false[-1]))
