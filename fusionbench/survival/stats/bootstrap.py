"""Bootstrap of test patients: one weight per patient and draw, the same for every model that is scored on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusionbench.core.errors import UndefinedMetric
from fusionbench.survival.stats.concordance import Floats, Ints, Pairs, pair_weight

DRAWS = 2000
_MAX_CANDIDATES = 50  # per wanted draw, before giving up


@dataclass(frozen=True)
class ScoredFold:
    """The cases of one test fold on which a row is scored.

    Attributes:
        patients: (case,) position of each case's patient among the weights; slides of one patient share it.
        pairs: the comparable pairs of these cases.
    """

    patients: Ints
    pairs: Pairs


@dataclass(frozen=True)
class Resampling:
    """Bootstrap weights of a cohort's test patients.

    Attributes:
        weights: (draw, patient) how often each patient was drawn.
        redrawn: number of draws discarded because some fold had no comparable pair left.
    """

    weights: Floats
    redrawn: int


def resample(strata: Ints, folds: Sequence[ScoredFold], *, seed: int, draws: int = DRAWS) -> Resampling:
    """Bootstrap weights: patients drawn with replacement within each test fold, so that folds keep their sizes.

    Not within event status: that would fix the number of events and make the intervals too narrow.

    Args:
        strata: (patient,) the test fold of each patient in the first repeat; other repeats reuse the weights.
        folds: every set of cases that will be scored; those with a comparable pair have one in each draw.

    Raises:
        UndefinedMetric: draws without a comparable pair are so frequent that too few remain.

    Source: Efron and Tibshirani 1993.
    """
    rng = np.random.default_rng(seed)
    needed = [fold for fold in folds if fold.pairs.any]
    kept: list[Floats] = []
    n_kept = n_seen = 0
    while n_kept < draws:
        if n_seen >= _MAX_CANDIDATES * draws:
            raise UndefinedMetric(f"only {n_kept} of {n_seen} draws keep a comparable pair in every test fold")
        candidates = _draw(strata, draws - n_kept, rng)
        usable = np.ones(len(candidates), dtype=bool)
        for fold in needed:
            # Every draw must give every fold a value: a mean over folds of some draws only would be another statistic.
            usable &= pair_weight(fold.pairs, candidates[:, fold.patients]) > 0
        kept.append(candidates[usable])
        n_kept, n_seen = n_kept + int(usable.sum()), n_seen + len(candidates)
    return Resampling(np.concatenate(kept), n_seen - n_kept)


def _draw(strata: Ints, draws: int, rng: np.random.Generator) -> Floats:
    weights = np.empty((draws, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        # How often each of n patients is drawn in n draws with replacement is multinomial.
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
    return weights


def percentile_interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of a statistic from its values (draw,); NaN if any is not finite."""
    if not np.isfinite(values).all():
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
