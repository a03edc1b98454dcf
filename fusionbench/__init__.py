"""fusionbench: a benchmark suite for multimodal fusion. This is the public API for plugin authors.

Names are loaded when first used, so that the command line answers quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusionbench.errors import DataError, FusionBenchError, PluginError, SuiteError, UndefinedMetric
    from fusionbench.hookspecs import hookimpl
    from fusionbench.interfaces import (
        Dataset,
        Encoder,
        FitContext,
        FittedModality,
        FusionModel,
        MemberFit,
        Metric,
        Modality,
        Options,
        Predictor,
        RestoreContext,
        State,
    )
    from fusionbench.pluginref import PluginRef
    from fusionbench.search import Choice, Interval, SearchSpace
    from fusionbench.types import (
        Bag,
        Batch,
        Case,
        CaseSet,
        DatasetInfo,
        Fold,
        Member,
        ModalitySpec,
        ModalityUse,
        PreparedBag,
        PreparedCase,
        RawBag,
        Source,
        SurvivalPrediction,
        SurvivalTarget,
        SurvivalTargets,
        Task,
    )

__version__ = "0.1.0"

__all__ = [
    "Bag",
    "Batch",
    "Case",
    "CaseSet",
    "Choice",
    "DataError",
    "Dataset",
    "DatasetInfo",
    "Encoder",
    "FitContext",
    "FittedModality",
    "Fold",
    "FusionBenchError",
    "FusionModel",
    "Interval",
    "Member",
    "MemberFit",
    "Metric",
    "Modality",
    "ModalitySpec",
    "ModalityUse",
    "Options",
    "PluginError",
    "PluginRef",
    "Predictor",
    "PreparedBag",
    "PreparedCase",
    "RawBag",
    "RestoreContext",
    "SearchSpace",
    "Source",
    "State",
    "SuiteError",
    "SurvivalPrediction",
    "SurvivalTarget",
    "SurvivalTargets",
    "Task",
    "UndefinedMetric",
    "__version__",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in ("errors", "search", "types", "hookspecs", "interfaces"):
            module = import_module(f"fusionbench.{home}")
            if hasattr(module, name):
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module 'fusionbench' has no attribute {name!r}")
