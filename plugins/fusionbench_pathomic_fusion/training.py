"""How the released survival runs are trained: data/TCGA_GBMLGG/README of mahmoodlab/PathomicFusion at 44b5513."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_COX: Mapping[str, Any] = MappingProxyType(
    {
        "optimizer": "adam",
        "schedule": "linear",
        "warmup": 0.0,
        "accumulate": 1,
        "loss": "cox",
        "cox_reduction": "cases",
        "alpha": 0.0,
        "clamp": None,
        "class_weights": "none",
        "weight_on": "all",
        "l1_factor": 1.0,
        "patience": None,
        "restore_best": False,
    }
)
FUSION: Mapping[str, Any] = MappingProxyType(
    {
        **_COX,
        "epochs": 30,
        "hold": 10.0,
        "batch_size": 32,
        "lr": 1e-4,
        "weight_decay": 4e-4,
        "betas": (0.5, 0.999),
        "l1": 3e-4,
        "l1_on": ("encode.omic.*",),
    }
)
OMIC: Mapping[str, Any] = MappingProxyType(
    {**_COX, "epochs": 50, "hold": 0.0, "batch_size": 64, "lr": 2e-3, "weight_decay": 5e-4, "l1": 3e-4}
)
PICTURE: Mapping[str, Any] = MappingProxyType(
    {**_COX, "epochs": 50, "hold": 0.0, "batch_size": 8, "lr": 5e-4, "weight_decay": 4e-4, "l1": 0.0}
)
"""Of the network on pictures; that on graphs has its own, which is not described, and is trained alike here."""
ALONE = MappingProxyType({"path": PICTURE, "graph": PICTURE, "omic": OMIC})
