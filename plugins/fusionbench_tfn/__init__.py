"""TFN: the outer product of one vector a modality (Zadeh et al. 2017).

The package root is what other plugins may import: `Tfn`, `TfnNetwork`, `TfnOptions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_tfn.model import Tfn as Tfn
    from fusionbench_tfn.network import TfnNetwork as TfnNetwork
    from fusionbench_tfn.options import TfnOptions as TfnOptions

_HOMES = {"Tfn": "model", "TfnNetwork": "network", "TfnOptions": "options"}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_tfn.model import Tfn

    return [Tfn]
