"""The distribution of censoring times, for inverse probability of censoring weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SAME_TIME = np.finfo(np.float64).eps
"""Times closer than this are equal, as in scikit-survival."""


@dataclass(frozen=True)
class Censoring:
    """Kaplan-Meier estimate of the probability of being uncensored, a right-continuous step function.

    Attributes:
        times: (step,) ascending, from -inf on.
        probability: (step,) at `times` and until the next.
    """

    times: Floats
    probability: Floats

    @classmethod
    def of(cls, time: NDArray[Any], event: NDArray[Any]) -> Censoring:
        """The estimate from follow-up times (case,) and observed events (case,) bool.

        Cases with an event at a time are no longer at risk of being censored at that time.

        Source: Kaplan and Meier 1958 with the parts of event and censoring exchanged, as scikit-survival has it.
        """
        event = np.asarray(event, dtype=bool)
        times, own, counts = np.unique(np.asarray(time, dtype=np.float64), return_inverse=True, return_counts=True)
        events = np.bincount(own, weights=event, minlength=len(times))
        at_risk = len(event) - (np.cumsum(counts) - counts) - events
        # The hazard of being censored: 0 at times without censoring, where nobody may be at risk either (0 / 0).
        share = np.divide(counts - events, at_risk, out=np.zeros(len(times)), where=counts > events)
        return cls(np.concatenate([[-np.inf], times]), np.concatenate([[1.0], np.cumprod(1.0 - share)]))

    @property
    def reach(self) -> float:
        """The longest follow-up; the estimate ends there."""
        return float(self.times[-1])

    def uncensored(self, times: NDArray[Any]) -> Floats:
        """(time,) probability of being uncensored at `times`, none of them beyond `reach`."""
        times = np.asarray(times, dtype=np.float64)
        # The step at or before each time; a time within rounding of a step counts as at it.
        after = np.searchsorted(self.times, times)
        after -= np.abs(self.times[after] - times) >= _SAME_TIME
        return np.asarray(self.probability[after], dtype=np.float64)
