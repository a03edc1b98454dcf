"""LMF: a low-rank product of one vector a modality (Liu et al. 2018).

The package root is what other plugins may import: `Lmf`, `LmfNetwork`, `LmfOptions`; what makes a vector of each
modality (`EmbeddingOptions`, `Embedder`, `VectorEmbedder`, `AttentionEmbedder`, `LstmEmbedder`, `embedders`), and
`attention_of`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_lmf.embedding import AttentionEmbedder as AttentionEmbedder
    from fusionbench_lmf.embedding import Embedder as Embedder
    from fusionbench_lmf.embedding import LstmEmbedder as LstmEmbedder
    from fusionbench_lmf.embedding import VectorEmbedder as VectorEmbedder
    from fusionbench_lmf.embedding import attention_of as attention_of
    from fusionbench_lmf.embedding import embedders as embedders
    from fusionbench_lmf.model import Lmf as Lmf
    from fusionbench_lmf.network import LmfNetwork as LmfNetwork
    from fusionbench_lmf.options import EmbeddingOptions as EmbeddingOptions
    from fusionbench_lmf.options import LmfOptions as LmfOptions

_HOMES = {
    **dict.fromkeys(
        ("AttentionEmbedder", "Embedder", "LstmEmbedder", "VectorEmbedder", "attention_of", "embedders"), "embedding"
    ),
    **dict.fromkeys(("EmbeddingOptions", "LmfOptions"), "options"),
    "Lmf": "model",
    "LmfNetwork": "network",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_lmf.model import Lmf

    return [Lmf]
