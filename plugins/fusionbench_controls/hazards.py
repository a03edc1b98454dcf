"""Survival curves of proportional hazards."""

from __future__ import annotations

import numpy as np

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
