"""Uni-modal models: a self-normalising network for vectors, gated attention for a bag."""

from __future__ import annotations

from collections.abc import Iterable

from fusionbench import FusionModel, hookimpl


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_unimodal.abmil import Abmil
    from fusionbench_unimodal.snn import Snn

    return [Snn, Abmil]
