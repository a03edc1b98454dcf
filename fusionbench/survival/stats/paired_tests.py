"""Means over folds, and tests of paired differences between models whose training sets overlap."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

from fusionbench.core.rounding import ROUNDING
from fusionbench.survival.stats.concordance import Floats

DETECTABLE = 2.8
"""Smallest difference, in standard errors, that is detected with 80 % power at the 5 % level: 1.96 + 0.84."""


@dataclass(frozen=True)
class PairedTest:
    """A mean paired difference with its standard error and test.

    Attributes:
        difference: mean over the paired values.
        se: corrected standard error; NaN with fewer than two values.
        df: degrees of freedom.
        p: two-sided; NaN with fewer than two values.
    """

    difference: float
    se: float
    df: int
    p: float

    @property
    def detectable(self) -> float:
        """The smallest true difference that this design detects with 80 % power at the 5 % level."""
        return DETECTABLE * self.se


def fold_shares(repeats: ArrayLike) -> Floats:
    """(value,) weight of each fold's value in the mean over folds, then over repeats; the weights sum to 1.

    Args:
        repeats: (value,) the repeat of each fold's value.
    """
    labels = np.asarray(repeats).tolist()
    counts = Counter(labels)  # called thousands of times with a few values, for which numpy's unique takes longer
    return np.array([1.0 / (counts[repeat] * len(counts)) for repeat in labels], dtype=np.float64)


def mean_over_folds(values: ArrayLike, repeats: ArrayLike) -> float:
    """Mean over the folds of each repeat, then over repeats; NaN without values."""
    numbers = np.asarray(values, dtype=np.float64)
    return float(numbers @ fold_shares(repeats)) if len(numbers) else float("nan")


def average_repeats(values: ArrayLike, folds: ArrayLike) -> Floats:
    """(fold,) mean over repeats of each fold's values; so published folds count once, however often repeated."""
    _, index, counts = np.unique(np.asarray(folds), return_inverse=True, return_counts=True)
    return np.asarray(np.bincount(index, np.asarray(values, dtype=np.float64)) / counts, dtype=np.float64)


def standard_deviation(values: ArrayLike, ddof: int = 1) -> float:
    """Standard deviation with `ddof` degrees of freedom less; NaN for fewer than two values."""
    numbers = np.asarray(values, dtype=np.float64)
    return float(numbers.std(ddof=ddof)) if len(numbers) > 1 else float("nan")


def corrected_t_test(differences: ArrayLike, test_to_train: float) -> PairedTest:
    """Corrected resampled t-test of paired fold differences against zero.

    The variance of the mean is s^2 (1/n + n_test/n_train) instead of s^2/n: training sets overlap, so the n differences
    are correlated. Two-sided, with n - 1 degrees of freedom.

    Args:
        differences: (value,) one per fold and repeat.
        test_to_train: n_test / n_train, where n_train counts training and validation cases.

    Source: Nadeau and Bengio 2003; for k x r cross-validation Bouckaert and Frank 2004.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    mean = float(values.mean()) if n else float("nan")
    if n < 2:
        return PairedTest(mean, float("nan"), 0, float("nan"))
    if np.ptp(values) <= ROUNDING:  # all differences are equal: certainly different from zero, unless all are zero
        return PairedTest(mean, 0.0, n - 1, 1.0 if abs(mean) <= ROUNDING else 0.0)
    # With ddof 1, as in the uncorrected t-test.
    se = standard_deviation(values) * float(np.sqrt(1 / n + test_to_train))
    return PairedTest(mean, se, n - 1, float(2 * stdtr(n - 1, -abs(mean) / se)))


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down adjustment of a family of p-values; NaN (no test was possible) is not counted and stays NaN.

    Source: Holm 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full_like(p, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = len(order) - np.arange(len(order))
    # The k-th smallest of m p-values times m - k + 1, at least as large as the adjusted one before it, at most 1.
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def best_position(means: NDArray[Any], higher_is_better: bool) -> int | None:
    """Position of the best mean (the first of those equal up to rounding); None where every mean is NaN."""
    if np.isnan(means).all():
        return None
    signed = means if higher_is_better else -means
    return int(np.flatnonzero(signed >= np.nanmax(signed) - ROUNDING)[0])
