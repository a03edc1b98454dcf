"""MultiModN: a state that one modality after the other updates, decoded after each (Swamy et al. 2023).

The package root is what other plugins may import: `MultiModN`, `MultiModNNetwork`, `MultiModNOptions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_multimodn.model import MultiModN as MultiModN
    from fusionbench_multimodn.network import MultiModNNetwork as MultiModNNetwork
    from fusionbench_multimodn.options import MultiModNOptions as MultiModNOptions

_HOMES = {"MultiModN": "model", "MultiModNNetwork": "network", "MultiModNOptions": "options"}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_multimodn.model import MultiModN

    return [MultiModN]
