"""MBT: modalities exchange through a few bottleneck tokens (Nagrani et al. 2021).

The package root is what other plugins may import: `Mbt`, `MbtNetwork`, `MbtOptions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_mbt.model import Mbt as Mbt
    from fusionbench_mbt.network import MbtNetwork as MbtNetwork
    from fusionbench_mbt.options import MbtOptions as MbtOptions

_HOMES = {"Mbt": "model", "MbtNetwork": "network", "MbtOptions": "options"}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_mbt.model import Mbt

    return [Mbt]
