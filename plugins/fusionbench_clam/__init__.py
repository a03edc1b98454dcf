"""CLAM: attention over a bag, one for all classes or one for each, and a loss on its instances (Lu et al. 2021).

The package root is what other plugins may import: `Clam`, `ClamNetwork`, `ClamOptions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_clam.model import Clam as Clam
    from fusionbench_clam.network import ClamNetwork as ClamNetwork
    from fusionbench_clam.options import ClamOptions as ClamOptions

_HOMES = {"Clam": "model", "ClamNetwork": "network", "ClamOptions": "options"}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_clam.model import Clam

    return [Clam]
