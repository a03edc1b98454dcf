"""Which pairs of cases a ranking has to get right, one ranking a score: the ground of c-index and AUROC alike.

The c-index of survival counts pairs of which one is known to have the event first. The AUROC of a class counts pairs of
a case with and a case without it. Both are shares of pairs that a score orders rightly, so that intervals, paired
comparisons and tie groups need to know the pairs only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench.survival.stats import Pairs, concordant_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray


def class_pairs(label: NDArray[Any], n_classes: int) -> list[Pairs]:
    """The pairs of each ranking: of two classes one, the second against the first; else each class against the others.

    Args:
        label: (case,) int64, position of each case's class.
    """
    return [_against_others(label == k) for k in ((1,) if n_classes == 2 else range(n_classes))]


def _against_others(own: NDArray[np.bool_]) -> Pairs:
    """A case of the class against every case that is not of it."""
    events = np.flatnonzero(own).astype(np.int64)
    return Pairs(events, np.broadcast_to(~own, (len(events), len(own))).astype(np.float64))


def mean_concordance(pairs: list[Pairs], scores: NDArray[Any]) -> float:
    """Mean over the rankings of the share of pairs that are ordered rightly, ties one half; NaN where one has no pair.

    Args:
        scores: (case, ranking).
    """
    shares = [
        concordant_pairs(of, score).sum() / of.matrix.sum() if of.any else np.nan
        for of, score in zip(pairs, scores.T, strict=True)
    ]
    return float(np.mean(shares))
