"""fusionbench: a benchmark suite for multimodal fusion. This is the public API for plugin authors.

Names are loaded when first used, so that the command line answers quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusionbench.core.errors import DataError, FusionBenchError, PluginError, SuiteError, UndefinedMetric
    from fusionbench.core.hookspecs import hookimpl
    from fusionbench.core.interfaces import (
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
    from fusionbench.core.plugin_options import validate_options
    from fusionbench.core.plugin_ref import PluginRef
    from fusionbench.core.registry import Registry, discover
    from fusionbench.core.search_space import Choice, Interval, SearchSpace
    from fusionbench.core.types import (
        Attention,
        Bag,
        Batch,
        Case,
        CaseSet,
        DatasetInfo,
        Fold,
        Member,
        ModalitySpec,
        ModalityUse,
        Piece,
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
    "Attention",
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
    "Piece",
    "PluginError",
    "PluginRef",
    "Predictor",
    "PreparedBag",
    "PreparedCase",
    "RawBag",
    "Registry",
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
    "discover",
    "hookimpl",
    "validate_options",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in ("errors", "search_space", "types", "hookspecs", "interfaces", "plugin_options", "registry"):
            module = import_module(f"fusionbench.core.{home}")
            if hasattr(module, name):
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module 'fusionbench' has no attribute {name!r}")
