"""DSMIL: attention on a bag by likeness to the instance that scores highest (Li et al. 2021).

The package root is what other plugins may import: `Dsmil`, `DsmilNetwork`, `DsmilOptions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_dsmil.model import Dsmil as Dsmil
    from fusionbench_dsmil.network import DsmilNetwork as DsmilNetwork
    from fusionbench_dsmil.options import DsmilOptions as DsmilOptions

_HOMES = {"Dsmil": "model", "DsmilNetwork": "network", "DsmilOptions": "options"}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_dsmil.model import Dsmil

    return [Dsmil]
