"""HEALNet: a shared latent array that is updated by one modality after the other (Hemker et al. 2024).

The package root is what other plugins may import: `HealNet`, `Healnet`, `HealnetOptions`, `NetworkOptions`; and what
makes tokens of a modality: `TokenOptions`, `Tokenizer`, `Tokens`, `token_width`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_healnet.cutting import token_width as token_width
    from fusionbench_healnet.model import Healnet as Healnet
    from fusionbench_healnet.network import HealNet as HealNet
    from fusionbench_healnet.options import HealnetOptions as HealnetOptions
    from fusionbench_healnet.options import NetworkOptions as NetworkOptions
    from fusionbench_healnet.options import TokenOptions as TokenOptions
    from fusionbench_healnet.tokens import Tokenizer as Tokenizer
    from fusionbench_healnet.tokens import Tokens as Tokens

_HOMES = {
    "HealNet": "network",
    "Healnet": "model",
    "HealnetOptions": "options",
    "NetworkOptions": "options",
    "TokenOptions": "options",
    "Tokenizer": "tokens",
    "Tokens": "tokens",
    "token_width": "cutting",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_healnet.model import Healnet

    return [Healnet]
