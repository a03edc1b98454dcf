"""Discrete-time survival: time bins, losses from logits, survival curves and risks.

Functions of tensors are loaded on first use, so that bins and curves can be used without loading torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench.survival.curves import assign_bins as assign_bins
from fusionbench.survival.curves import breslow_baseline as breslow_baseline
from fusionbench.survival.curves import class_weights as class_weights
from fusionbench.survival.curves import interpolate_survival as interpolate_survival
from fusionbench.survival.curves import time_bins as time_bins

if TYPE_CHECKING:
    from fusionbench.survival.losses import cox_partial_likelihood as cox_partial_likelihood
    from fusionbench.survival.losses import cross_entropy_survival as cross_entropy_survival
    from fusionbench.survival.losses import discrete_hazard_nll as discrete_hazard_nll
    from fusionbench.survival.losses import hazards_to_survival as hazards_to_survival
    from fusionbench.survival.losses import risk_from_survival as risk_from_survival

_LOSSES = frozenset(
    {
        "cox_partial_likelihood",
        "cross_entropy_survival",
        "discrete_hazard_nll",
        "hazards_to_survival",
        "risk_from_survival",
    }
)


def __getattr__(name: str) -> Any:
    if name not in _LOSSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = getattr(import_module(f"{__name__}.losses"), name)
    return globals()[name]
