"""The network: attention over one bag, fused with vectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from fusionbench import Bag, Batch, ModalitySpec
from fusionbench.nn import (
    ConcatFusion,
    Dropout,
    GatedAttention,
    KroneckerFusion,
    SNNBlock,
    complete,
    embed_and_pool,
    fully_connected,
    one_head,
    scale_head,
    vectors,
)
from fusionbench_porpoise.options import PorpoiseOptions


class BagBranch(nn.Module):
    """A bag -> its embedding: Linear, ReLU on each instance, gated attention, and Linear, ReLU on what is pooled.

    The dropout in the attention is the options' too, where the published rate is fixed to .25.
    """

    def __init__(self, dim: int, options: PorpoiseOptions) -> None:
        super().__init__()
        o = options
        self.drop = Dropout(o.input_dropout)
        self.embed = fully_connected(dim, o.width, o.dropout)
        self.pool = GatedAttention(o.width, o.attention_width, dropout=o.dropout)
        self.rho = fully_connected(o.width, o.bag_width, o.dropout)

    def forward(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """(case, bag_width) embedding and (case, instance) weights, which sum to 1 over the real instances."""
        pooled, weights = embed_and_pool(bag.values, bag.mask, self.embed, self.pool, self.drop)
        return self.rho(pooled), weights


class PorpoiseNetwork(nn.Module):
    """A bag and vectors, each to an embedding of its own; both fused, then logits.

    Args:
        vectors: one or more, side by side in this order.
    """

    def __init__(
        self, bag: ModalitySpec, vectors: Sequence[ModalitySpec], n_outputs: int, options: PorpoiseOptions
    ) -> None:
        super().__init__()
        self.bag, self.vectors = bag.name, tuple(spec.name for spec in vectors)
        self.path = BagBranch(bag.dim, options)
        self.omic = _vector_layers(sum(spec.dim for spec in vectors), options)
        self.fusion = _fusion(options)
        self.head = nn.Linear(options.fusion_width, n_outputs)
        scale_head(self.head, options.head_scale)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case lacks the bag or one of the vectors.
        """
        path, _ = self.path(complete(batch, self.bag, "porpoise"))
        omic = self.omic(vectors(batch, self.vectors, "porpoise"))
        return cast(Tensor, self.head(self.fusion(path, omic)))

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """(case, 1, 1, instance) weights of the bag, summing to 1 over the real instances."""
        return {self.bag: one_head(self.path(complete(batch, self.bag, "porpoise"))[1])}


def _vector_layers(dim: int, options: PorpoiseOptions) -> nn.Sequential:
    """(case, dim) -> (case, last of the widths). The published fusion leaves torch's start, unlike its SNN."""
    steps = pairwise((dim, *options.vector_widths))
    if options.mlp:
        return nn.Sequential(*(fully_connected(a, b, options.dropout) for a, b in steps))
    kind, rate = options.dropout_kind, options.dropout
    return nn.Sequential(*(SNNBlock(a, b, dropout=rate, dropout_kind=kind, init="torch") for a, b in steps))


def _fusion(options: PorpoiseOptions) -> nn.Module:
    """(case, bag_width) and (case, last of vector_widths) -> (case, fusion_width)."""
    dims = (options.bag_width, options.vector_widths[-1])
    if options.fusion == "concat":
        return ConcatFusion(dims, options.fusion_width)
    return KroneckerFusion(
        dims,
        options.fusion_width,
        scale=(options.scale_bag, options.scale_vector),
        gates=(options.gate_bag, options.gate_vector),
        skip=options.skip,
        dropout=options.dropout,
    )
