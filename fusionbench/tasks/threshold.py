"""From which predicted probability a case counts as positive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def best_threshold(positive: NDArray[np.bool_], probability: NDArray[np.float64]) -> float:
    """The threshold with the highest balanced accuracy, of several the highest; NaN where all cases are of one class.

    A case at or above the threshold counts as positive. Cases to be judged by it must be others than these.

    Args:
        positive: (case,) whether each case is of the positive class.
        probability: (case,) predicted probability of the positive class.

    Returns:
        one of the probabilities.

    Source: Youden 1950; sensitivity + specificity - 1 is twice the balanced accuracy less one.
    """
    from sklearn.metrics import roc_curve

    if positive.all() or not positive.any():
        return float("nan")
    false, true, at = roc_curve(positive, probability, drop_intermediate=False)
    # the first threshold is infinite: no case is positive, which is never better than one above which some are
    return float(at[1:][np.argmax((true - false)[1:])])
