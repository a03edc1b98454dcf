"""ILRA: a few latent tokens read a bag and are read by it, layer by layer (Xiang and Zhang 2023).

The package root is what other plugins may import: `Ilra`, `IlraNetwork`, `IlraOptions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_ilra.model import Ilra as Ilra
    from fusionbench_ilra.network import IlraNetwork as IlraNetwork
    from fusionbench_ilra.options import IlraOptions as IlraOptions

_HOMES = {"Ilra": "model", "IlraNetwork": "network", "IlraOptions": "options"}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_ilra.model import Ilra

    return [Ilra]
