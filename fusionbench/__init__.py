"""fusionbench: a benchmark suite for multimodal fusion. This is the public API for plugin authors.

Names are loaded when first used, so that the command line answers quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusionbench.core.attention_map import AttentionMap
    from fusionbench.core.child_process import end_with_parent, safe_import_path
    from fusionbench.core.contexts import FitContext, MemberFit, RestoreContext
    from fusionbench.core.encoder import Encoder
    from fusionbench.core.errors import DataError, FusionBenchError, PluginError, SuiteError, UndefinedMetric
    from fusionbench.core.executor import Executor, LostTask, ResourceRequest
    from fusionbench.core.hookspecs import hookimpl
    from fusionbench.core.interfaces import Dataset, FittedModality, FusionModel, Modality
    from fusionbench.core.metric import Metric
    from fusionbench.core.options import BESIDE_SUITE, Options
    from fusionbench.core.plugin_options import validate_options
    from fusionbench.core.plugin_ref import PluginRef
    from fusionbench.core.predictor import Predictor
    from fusionbench.core.preparation import Preparation, PreparationContext, State
    from fusionbench.core.registry import Registry, discover
    from fusionbench.core.search_space import Choice, Interval, SearchSpace
    from fusionbench.core.stages import Stage
    from fusionbench.core.types import (
        NO_NEIGHBOUR,
        Attention,
        Bag,
        Batch,
        Case,
        CaseSet,
        ClassPrediction,
        ClassTarget,
        ClassTargets,
        DatasetInfo,
        Fold,
        MaskRow,
        Member,
        ModalitySpec,
        ModalityUse,
        Outputs,
        Piece,
        Prediction,
        PreparedBag,
        PreparedCase,
        RawBag,
        Source,
        StepPrediction,
        Steps,
        SurvivalPrediction,
        SurvivalTarget,
        SurvivalTargets,
        Task,
    )

__version__ = "0.1.0"

__all__ = [
    "BESIDE_SUITE",
    "NO_NEIGHBOUR",
    "Attention",
    "AttentionMap",
    "Bag",
    "Batch",
    "Case",
    "CaseSet",
    "Choice",
    "ClassPrediction",
    "ClassTarget",
    "ClassTargets",
    "DataError",
    "Dataset",
    "DatasetInfo",
    "Encoder",
    "Executor",
    "FitContext",
    "FittedModality",
    "Fold",
    "FusionBenchError",
    "FusionModel",
    "Interval",
    "LostTask",
    "MaskRow",
    "Member",
    "MemberFit",
    "Metric",
    "Modality",
    "ModalitySpec",
    "ModalityUse",
    "Options",
    "Outputs",
    "Piece",
    "PluginError",
    "PluginRef",
    "Prediction",
    "Predictor",
    "Preparation",
    "PreparationContext",
    "PreparedBag",
    "PreparedCase",
    "RawBag",
    "Registry",
    "ResourceRequest",
    "RestoreContext",
    "SearchSpace",
    "Source",
    "Stage",
    "State",
    "StepPrediction",
    "Steps",
    "SuiteError",
    "SurvivalPrediction",
    "SurvivalTarget",
    "SurvivalTargets",
    "Task",
    "UndefinedMetric",
    "__version__",
    "discover",
    "end_with_parent",
    "hookimpl",
    "safe_import_path",
    "validate_options",
]

_MODULES = [
    "attention_map",
    "errors",
    "search_space",
    "types",
    "hookspecs",
    "preparation",
    "options",
    "metric",
    "predictor",
    "contexts",
    "interfaces",
    "executor",
    "encoder",
    "plugin_options",
    "registry",
    "child_process",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _MODULES:
            module = import_module(f"fusionbench.core.{home}")
            if hasattr(module, name):
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module 'fusionbench' has no attribute {name!r}")
