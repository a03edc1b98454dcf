"""TFN as a torch module: a Batch in, logits out."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import cast

from fusionbench_lmf import Embedder, attention_of
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench import Batch
from fusionbench.nn import Dropout, scale_head, some_modality
from fusionbench_tfn.options import TfnOptions


def outer_product(vectors: Sequence[Tensor]) -> Tensor:
    """One (case, width) a modality -> (case, product of width + 1).

    Each vector begins with a constant 1, so that the product holds the constant, the vectors themselves and all
    products of two and more; the first modality is the outermost.
    """
    product = vectors[0].new_ones(len(vectors[0]), 1)
    for vector in vectors:
        longer = F.pad(vector, (1, 0), value=1.0)
        product = (product.unsqueeze(2) * longer.unsqueeze(1)).flatten(start_dim=1)
    return product


def bounded(logits: Tensor) -> Tensor:
    """6 sigmoid(logit) - 3."""
    return 6.0 * logits.sigmoid() - 3.0


class TfnNetwork(nn.Module):
    """A vector of each modality, their outer product, and three linear layers to logits.

    Args:
        names: of the modalities.
        embed: an `Embedder` for each of them.

    Source: Zadeh et al. 2017, section 4; torch's default start, as in the published program.
    """

    def __init__(self, names: Sequence[str], embed: nn.ModuleList, n_outputs: int, options: TfnOptions) -> None:
        super().__init__()
        o, self.names, self.embed = options, tuple(names), embed
        size = prod(cast(Embedder, e).width + 1 for e in embed)
        self.dropout, self.bounded = Dropout(o.fusion_dropout), o.bounded
        layers = [nn.Linear(size, o.fusion_width), nn.ReLU(), nn.Linear(o.fusion_width, o.fusion_width), nn.ReLU()]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(o.fusion_width, n_outputs)
        scale_head(self.head, o.head_scale)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case has no modality at all.
        """
        some_modality(batch, self.names)
        logits = cast(Tensor, self.head(self.layers(self.dropout(outer_product(self.vectors(batch))))))
        return bounded(logits) if self.bounded else logits

    def vectors(self, batch: Batch) -> list[Tensor]:
        """(case, width) of each modality, zeros where a case lacks it: the terms without it stay in the product."""
        return [embed(batch.bags[name]) for name, embed in zip(self.names, self.embed, strict=True)]

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """(case, 1, query, instance) weights of bags and grids that are pooled by attention."""
        return attention_of(self.embed, self.names, batch)
