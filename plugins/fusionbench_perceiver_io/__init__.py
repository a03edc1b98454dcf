"""Perceiver IO: latents read all modalities' tokens at once (Jaegle et al. 2022).

The package root is what other plugins may import: `PerceiverIo`, `PerceiverIoNetwork`, `PerceiverIoOptions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_perceiver_io.model import PerceiverIo as PerceiverIo
    from fusionbench_perceiver_io.network import PerceiverIoNetwork as PerceiverIoNetwork
    from fusionbench_perceiver_io.options import PerceiverIoOptions as PerceiverIoOptions

_HOMES = {"PerceiverIo": "model", "PerceiverIoNetwork": "network", "PerceiverIoOptions": "options"}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_perceiver_io.model import PerceiverIo

    return [PerceiverIo]
