"""The published scale of expression values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]


def scaled_together(values: Floats, train: Floats) -> Floats:
    """(case, gene) to [-1, 1] by one minimum and one maximum, of all genes and training cases; others may lie outside.

    A value that is exactly 0 stays 0: as published, where it is meant for a missing one. Without it, nothing tells
    genes apart in scale, unlike the standardised columns of a suite.
    """
    low, high = train.min(), train.max()
    return np.asarray(np.where(values == 0, 0.0, 2.0 * (values - low) / (high - low) - 1.0))
