"""Low and high risk groups of test patients, and whether their survival differs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sksurv.compare import compare_survival
from sksurv.util import Surv

from fusionbench.core.errors import UndefinedMetric
from fusionbench.survival.stats.concordance import tied_ranks


def risk_groups(risk: NDArray[Any], fold: NDArray[Any]) -> NDArray[np.bool_]:
    """(case,) True = high risk: above the median of the case's own test fold.

    Each fold has its own fitted model, whose risks are on a scale of their own. A common threshold would separate folds
    instead of patients.

    Args:
        risk: (case,) finite; higher = earlier event.
        fold: (case,) the test fold of each case, within one repeat.
    """
    high = np.zeros(len(risk), dtype=bool)
    for name in np.unique(fold):
        members = fold == name
        # Strictly above: where many risks tie at the median, the high group is the smaller one.
        own = tied_ranks(risk[members])
        high[members] = own > np.median(own)
    return high


def log_rank_p(time: NDArray[Any], event: NDArray[Any], high: NDArray[np.bool_]) -> float:
    """P-value of the log-rank test between two risk groups.

    Args:
        time: (case,) months.
        event: (case,) bool, True = observed.
        high: (case,) bool from `risk_groups`.

    Raises:
        UndefinedMetric: if a group is empty or nobody has an event.
    """
    if high.all() or not high.any():
        raise UndefinedMetric("all test cases fall into one risk group")
    if not np.asarray(event, dtype=bool).any():
        raise UndefinedMetric("no event among the test cases")
    return float(compare_survival(Surv.from_arrays(np.asarray(event, dtype=bool), time), high)[1])
