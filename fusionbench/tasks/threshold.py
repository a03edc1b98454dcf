"""From which predicted probability a case counts as positive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusionbench.core.rounding import DIGITS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def best_threshold(positive: NDArray[np.bool_], probability: NDArray[np.float64]) -> float:
    """The threshold with the highest balanced accuracy; NaN where all cases are of one class.

    A case at or above the threshold counts as positive. It lies midway between two neighbouring probabilities, since at
    one of them it would be as close as can be to cases of one class. Of several best ones it is the highest. Cases to
    be judged by it must be others than these.

    Args:
        positive: (case,) whether each case is of the positive class.
        probability: (case,) predicted probability of the positive class.

    Source: Youden 1950; sensitivity + specificity - 1 is twice the balanced accuracy less one.
    """
    from sklearn.metrics import roc_curve

    if positive.all() or not positive.any():
        return float("nan")
    false, true, at = roc_curve(positive, probability, drop_intermediate=False)
    # the first threshold is infinite: no case is positive, which is never better than one above which some are
    best = 1 + int(np.argmax(np.round(true - false, DIGITS)[1:]))  # ties are not broken by rounding errors
    return float(at[best] if best + 1 == len(at) else (at[best] + at[best + 1]) / 2)
