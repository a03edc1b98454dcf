"""Uni-modal models: networks for vectors, for one bag (alone or fused with vectors), and for means of bags.

The package root is what other plugins may import: the models `snn` and `abmil` with their networks and options;
and what models of one bag share (`BagModel`, `BagNetwork`, `BagOptions`; `PoolerModel`, `PoolerOptions`).
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_unimodal.abmil import Abmil as Abmil
    from fusionbench_unimodal.bag_model import BagModel as BagModel
    from fusionbench_unimodal.bag_model import PoolerModel as PoolerModel
    from fusionbench_unimodal.bag_network import BagNetwork as BagNetwork
    from fusionbench_unimodal.networks import AbmilNetwork as AbmilNetwork
    from fusionbench_unimodal.networks import SnnNetwork as SnnNetwork
    from fusionbench_unimodal.options import AbmilOptions as AbmilOptions
    from fusionbench_unimodal.options import BagOptions as BagOptions
    from fusionbench_unimodal.options import PoolerOptions as PoolerOptions
    from fusionbench_unimodal.options import SnnOptions as SnnOptions
    from fusionbench_unimodal.snn import Snn as Snn

_HOMES = {
    "Abmil": "abmil",
    "BagNetwork": "bag_network",
    "Snn": "snn",
    **dict.fromkeys(("BagModel", "PoolerModel"), "bag_model"),
    **dict.fromkeys(("AbmilOptions", "BagOptions", "PoolerOptions", "SnnOptions"), "options"),
    **dict.fromkeys(("AbmilNetwork", "SnnNetwork"), "networks"),
}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_unimodal.abmil import Abmil
    from fusionbench_unimodal.deepsets import Deepsets
    from fusionbench_unimodal.mean_pool import MeanPool
    from fusionbench_unimodal.mifcn import Mifcn
    from fusionbench_unimodal.snn import Snn

    return [Snn, Abmil, Deepsets, Mifcn, MeanPool]
