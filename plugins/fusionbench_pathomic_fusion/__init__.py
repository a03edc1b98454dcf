"""Pathomic Fusion: gated Kronecker product of two or three vectors (Chen et al. 2020).

The package root is what other plugins may import: `PathomicFusion`, `PathomicNetwork`, `PathomicOptions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_pathomic_fusion.model import PathomicFusion as PathomicFusion
    from fusionbench_pathomic_fusion.network import PathomicNetwork as PathomicNetwork
    from fusionbench_pathomic_fusion.options import PathomicOptions as PathomicOptions

_HOMES = {"PathomicFusion": "model", "PathomicNetwork": "network", "PathomicOptions": "options"}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_pathomic_fusion.model import PathomicFusion

    return [PathomicFusion]
