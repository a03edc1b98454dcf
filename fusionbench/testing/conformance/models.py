"""Checks of a model, in the order in which it is tried."""

from __future__ import annotations

from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import Registry
from fusionbench.testing.conformance import (
    model_attention,
    model_attention_maps,
    model_basics,
    model_batches,
    model_isolation,
    model_learning,
    model_missing,
    model_outputs,
    model_preparations,
    model_stages,
)
from fusionbench.testing.conformance.check import Check, Promise, checks_of
from fusionbench.testing.conformance.declarations import declarations
from fusionbench.testing.conformance.trials import ModelSubject

PROMISES: tuple[Promise[ModelSubject], ...] = (
    *declarations(lambda subject: subject.cls),
    *model_basics.CHECKS.promises,
    *model_preparations.CHECKS.promises,
    *model_isolation.CHECKS.promises,
    *model_batches.CHECKS.promises,
    *model_missing.CHECKS.promises,
    *model_learning.CHECKS.promises,
    *model_outputs.CHECKS.promises,
    *model_attention_maps.CHECKS.promises,
    *model_stages.CHECKS.promises,
    *model_attention.CHECKS.promises,
)


def checks(name: str, registry: Registry) -> list[Check]:
    """The checks of one model, `NAME` or `NAME[option=value]`."""
    return checks_of("model", name, lambda: ModelSubject(PluginRef.parse(name), registry), PROMISES)
