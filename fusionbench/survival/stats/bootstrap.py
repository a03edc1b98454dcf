"""Resampling of test patients: one weight per patient and draw, shared by everything that is scored on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusionbench.core.errors import UndefinedMetric
from fusionbench.survival.stats.concordance import Floats, Ints, Pairs, pair_weight

DRAWS = 2000
_PATIENCE = 50  # candidate draws per wanted draw before giving up


@dataclass(frozen=True)
class ScoredFold:
    """The cases of one test fold that a row is scored on.

    Attributes:
        patients: (case,) position of each case's patient among the weights.
        pairs: the comparable pairs of these cases.
    """

    patients: Ints
    pairs: Pairs


@dataclass(frozen=True)
class Resampling:
    """Bootstrap weights of a cohort's test patients.

    Attributes:
        weights: (draw, patient) how often each patient was drawn.
        redrawn: draws thrown away because some fold had no comparable pair left.
    """

    weights: Floats
    redrawn: int


def resample(strata: Ints, folds: Sequence[ScoredFold], *, seed: int, draws: int = DRAWS) -> Resampling:
    """Draw patients with replacement within each stratum, never within event status.

    Resampling within event status would hold the number of events fixed and so make the intervals too short.

    Args:
        strata: (patient,) the test fold each patient belongs to in the first repeat; other repeats reuse the weights.
        folds: every set of cases that will be scored; those with a comparable pair keep one in each draw.

    Raises:
        UndefinedMetric: if draws without a comparable pair are so frequent that too few remain.
    """
    rng = np.random.default_rng(seed)
    needed = [fold for fold in folds if fold.pairs.any]
    kept: list[Floats] = []
    n_kept = n_seen = 0
    while n_kept < draws:
        if n_seen >= _PATIENCE * draws:
            raise UndefinedMetric(f"only {n_kept} of {n_seen} draws keep a comparable pair in every test fold")
        candidates = _draw(strata, draws - n_kept, rng)
        usable = np.ones(len(candidates), dtype=bool)
        for fold in needed:
            usable &= pair_weight(fold.pairs, candidates[:, fold.patients]) > 0
        kept.append(candidates[usable])
        n_kept, n_seen = n_kept + int(usable.sum()), n_seen + len(candidates)
    return Resampling(np.concatenate(kept), n_seen - n_kept)


def _draw(strata: Ints, draws: int, rng: np.random.Generator) -> Floats:
    weights = np.empty((draws, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
    return weights


def percentile_interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic given its value in each draw (draw,)."""
    if not np.isfinite(values).all():
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
