"""The area under a weighted ROC curve."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusionbench.survival.stats.concordance import TIED_RISK


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
