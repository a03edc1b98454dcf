"""Survival curves from hazards."""

from __future__ import annotations

import numpy as np

from fusionbench import SurvivalPrediction
from fusionbench_controls.features import Floats

_MAX_LOG_RISK = 500.0  # exp of more overflows; S is 0 to the last digit long before


def curves(hazard: Floats, log_risk: Floats) -> Floats:
    """(case, time) S = exp(-H exp(log_risk)).

    Args:
        hazard: (time,) or (case, time) cumulative baseline hazard H.
        log_risk: (case,) log hazard ratio; higher = earlier event.
    """
    growth = np.exp(np.minimum(log_risk, _MAX_LOG_RISK))[:, None]
    return np.asarray(np.exp(-hazard * growth))


def prediction(ids: tuple[str, ...], risk: Floats, survival: Floats, times: Floats) -> SurvivalPrediction:
    """A prediction with S at the positive ones of `times`.

    S is 1 at time 0 by definition; an event of a training case at time 0 still counts in the hazard of later times.

    Args:
        risk: (case,) higher = earlier event.
        survival: (case, time) S at `times`.
        times: (time,) ascending event times, months; the first may be 0.
    """
    later = times > 0
    return SurvivalPrediction(ids, risk, survival[:, later], times[later])
