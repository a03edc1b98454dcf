"""MulT: every modality attends to every other one (Tsai et al. 2019).

The package root is what other plugins may import: `Mult`, `MultNetwork`, `MultOptions`; what makes tokens of a common
width of each modality (`SetOptions`, `TokenEmbedder`, `Embedded`); and `MultiHeadAttention`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_mult.attention import MultiHeadAttention as MultiHeadAttention
    from fusionbench_mult.model import Mult as Mult
    from fusionbench_mult.network import MultNetwork as MultNetwork
    from fusionbench_mult.options import MultOptions as MultOptions
    from fusionbench_mult.options import SetOptions as SetOptions
    from fusionbench_mult.tokens import Embedded as Embedded
    from fusionbench_mult.tokens import TokenEmbedder as TokenEmbedder

_HOMES = {
    "MultiHeadAttention": "attention",
    "Mult": "model",
    "MultNetwork": "network",
    **dict.fromkeys(("MultOptions", "SetOptions"), "options"),
    **dict.fromkeys(("Embedded", "TokenEmbedder"), "tokens"),
}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_mult.model import Mult

    return [Mult]
