"""Pooling over cohorts: a random-effects mean for a few cohorts, rank tests for six or more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from fusionbench.core.rounding import DIGITS
from fusionbench.survival.stats.concordance import Floats
from fusionbench.survival.stats.paired_tests import best_position, holm


@dataclass(frozen=True)
class RandomEffects:
    """Random-effects mean of a paired difference over cohorts, whose true differences may vary.

    Attributes:
        se, low, high, p: standard error, 95 % interval and two-sided p-value of the mean by Hartung and Knapp, with
            cohorts - 1 degrees of freedom; the standard error is never below the one that the variances within cohorts
            give.
        tau2: variance between cohorts (Paule and Mandel).
        i2: share of the total variation that lies between cohorts, in [0, 1].
        q, q_p: Cochran's test of heterogeneity.
    """

    mean: float
    se: float
    low: float
    high: float
    p: float
    tau2: float
    i2: float
    q: float
    q_p: float


def random_effects(differences: ArrayLike, variances: ArrayLike) -> RandomEffects:
    """Pool the paired differences of at least two cohorts.

    Args:
        differences: (cohort,) one mean difference each.
        variances: (cohort,) their squared standard errors, positive.

    Raises:
        ValueError: for fewer than two cohorts or a variance that is not positive.

    Source: Hartung and Knapp 2001; its floor Knapp and Hartung 2003 (Roever et al. 2015); tau2 after Paule and Mandel
        1982; I2 after Higgins and Thompson 2002.
    """
    y, v = np.asarray(differences, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if len(y) < 2 or len(y) != len(v) or not (v > 0).all():
        raise ValueError(f"needs two or more cohorts with positive variances, got {len(y)} and variances {v.tolist()}")
    df = len(y) - 1
    q = _spread(0.0, y, v)
    tau2 = _paule_mandel(y, v)
    w = 1 / (v + tau2)
    mean = float(w @ y / w.sum())
    # Weights by the inverse of both variances, within and between cohorts.
    # Two or three cohorts can agree by chance far better than their own errors allow: without the floor of 1 the
    # interval would be much too narrow.
    se = float(np.sqrt(max(1.0, w @ (y - mean) ** 2 / df) / w.sum()))
    half = float(stats.t.ppf(0.975, df)) * se
    p = float(2 * stats.t.sf(abs(mean) / se, df))
    i2 = max(0.0, (q - df) / q) if q > 0 else 0.0
    return RandomEffects(mean, se, mean - half, mean + half, p, tau2, i2, q, float(stats.chi2.sf(q, df)))


def _spread(tau2: float, y: Floats, v: Floats) -> float:
    """Weighted sum of squared deviations from the weighted mean; Cochran's Q for tau2 = 0."""
    w = 1 / (v + tau2)
    return float(w @ (y - w @ y / w.sum()) ** 2)


def _paule_mandel(y: Floats, v: Floats) -> float:
    """The variance between cohorts at which the spread equals its expectation, the degrees of freedom; at least 0."""
    df = len(y) - 1
    if _spread(0.0, y, v) <= df:
        return 0.0
    # The spread falls as tau2 grows: double an upper bound until it lies below, then find the root between.
    top = float(np.ptp(y) ** 2 + v.max())
    while _spread(top, y, v) > df:
        top *= 2
    return float(optimize.brentq(lambda tau2: _spread(tau2, y, v) - df, 0.0, top, xtol=1e-12))


@dataclass(frozen=True)
class RankTest:
    """Result of rank tests: whether models differ in rank over cohorts, and which differ from the best-ranked one.

    Attributes:
        ranks: (model,) mean rank, 1 = best.
        f, p: Iman and Davenport's statistic and its p-value.
        best: position of the model with the best mean rank.
        p_holm: (model,) Wilcoxon signed-rank tests against it, adjusted by Holm; NaN for itself.
    """

    ranks: Floats
    f: float
    p: float
    best: int
    p_holm: Floats


def rank_test(values: ArrayLike, higher_is_better: bool) -> RankTest:
    """Compare models over cohorts by their ranks; for six cohorts or more.

    Args:
        values: (cohort, model) finite scores.

    Raises:
        ValueError: for fewer than two cohorts or models, or a value that is not finite.

    Source: Iman and Davenport 1980; Demsar 2006.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise ValueError(f"needs finite values of two or more cohorts and models, got shape {table.shape}")
    table = table.round(DIGITS)  # equal scores tie, also where their sums were rounded otherwise
    n, k = table.shape
    ranks = stats.rankdata(-table if higher_is_better else table, axis=1).mean(axis=0)
    # Friedman's chi2, and Iman and Davenport's F from it, which is less conservative.
    chi2 = 12 * n / (k * (k + 1)) * float(((ranks - (k + 1) / 2) ** 2).sum())
    room = n * (k - 1) - chi2
    f = (n - 1) * chi2 / room if room > 1e-9 else float("inf")  # inf: all cohorts rank the models alike
    best = best_position(ranks, higher_is_better=False)
    assert best is not None  # ranks are never NaN
    p = [float("nan") if i == best else _wilcoxon((table[:, best] - table[:, i]).round(DIGITS)) for i in range(k)]
    return RankTest(ranks, f, float(stats.f.sf(f, k - 1, (k - 1) * (n - 1))), best, holm(p))


def _wilcoxon(differences: Floats) -> float:
    # All differences 0: no evidence of a difference, and no ranks to test.
    return float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0
