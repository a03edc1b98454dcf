"""The metric `my-plugin`: concordance among patients still followed at a landmark."""

from __future__ import annotations

from typing import Any

import numpy as np
from fusionbench import Metric, SurvivalPrediction, SurvivalTargets, UndefinedMetric
from numpy.typing import NDArray

Targets = SurvivalTargets[NDArray[Any]]


class LandmarkConcordance(Metric):
    """Harrell's c among the test patients followed beyond 12 months; higher is better, 0.5 is chance.

    The share of comparable pairs in which the earlier event has the higher risk, ties counting one half. A pair is
    comparable if the earlier of its times is an observed event. Says whether a model still ranks patients once the
    early deaths are over. Source: van Houwelingen 2007 (landmarking); Harrell, Lee and Mark 1996 (c).

    A metric has no options: one with another landmark is a class of its own, with another name.
    """

    name = "my-plugin"
    version = "1"  # part of every result's key: count it up when values change
    higher_is_better = True  # False for errors; None for what has no direction, which is never ranked
    horizon = "own"  # targets as they are; "tau" = censored just beyond the dataset's horizon, S on its time grid
    range = (0.0, 1.0)
    landmark = 12.0  # months

    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        """One value of one test fold.

        Args:
            prediction: risk (case,), higher = earlier event; survival (case, time) at times (time,) in months, or None.
            test: time (case,) in months, event (case,) True = observed, in the order of the risks.
            train: the same of the training and validation cases, for weights by inverse probability of censoring.

        Raises:
            UndefinedMetric: nobody outlives the landmark, or no pair can be compared; the table shows the reason.
        """
        later = test.time > self.landmark
        if not later.any():
            raise UndefinedMetric(f"no test case is followed beyond {self.landmark:g} months")
        return concordance(prediction.risk[later], test.time[later], test.event[later])


def concordance(risk: NDArray[Any], time: NDArray[Any], event: NDArray[Any]) -> float:
    """Harrell's c of (case,) risks.

    Raises:
        UndefinedMetric: no pair can be compared.
    """
    outlived = (time[:, None] < time) | ((time[:, None] == time) & ~event)  # earlier later
    comparable = event[:, None] & outlived
    if not comparable.any():
        raise UndefinedMetric(f"no comparable pair among the {len(time)} cases beyond the landmark")
    right = (risk[:, None] > risk) + 0.5 * (risk[:, None] == risk)
    return float(np.mean(right[comparable]))
