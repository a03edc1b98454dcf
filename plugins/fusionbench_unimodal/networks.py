"""The networks of `snn`, `mean-pool`, `abmil` and `deepsets`; in a module of their own, since a plan needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from fusionbench import Batch, ModalitySpec
from fusionbench.nn import (
    GatedAttention,
    SNNBlock,
    complete,
    embed_and_pool,
    fully_connected,
    masked_mean,
    masked_sum,
    one_head,
    scale_head,
    vectors,
)
from fusionbench_unimodal.bag_network import AttentionNetwork, BagNetwork
from fusionbench_unimodal.options import AbmilOptions, DeepsetsOptions, SnnOptions


class SnnNetwork(nn.Module):
    """Vectors side by side, in the order of `specs` -> SNN blocks -> logits."""

    who = "snn"

    def __init__(self, specs: Sequence[ModalitySpec], n_outputs: int, options: SnnOptions) -> None:
        super().__init__()
        self.names = tuple(spec.name for spec in specs)
        widths = (sum(spec.dim for spec in specs), *options.widths)
        chosen = options.model_dump(include={"dropout", "dropout_kind", "activation", "init"})
        self.blocks = nn.Sequential(*(SNNBlock(a, b, **chosen) for a, b in pairwise(widths)))
        self.head = nn.Linear(widths[-1], n_outputs)
        if options.init == "lecun":
            nn.init.normal_(self.head.weight, std=widths[-1] ** -0.5)
            nn.init.zeros_(self.head.bias)
        scale_head(self.head, options.head_scale)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case lacks one of the vectors.
        """
        return cast(Tensor, self.head(self.blocks(self.inputs(batch))))

    def inputs(self, batch: Batch) -> Tensor:
        """(case, feature)."""
        return vectors(batch, self.names, self.who)


class MeanPoolNetwork(SnnNetwork):
    """The mean of each modality's instances, side by side in the order of `specs` -> SNN blocks -> logits."""

    who = "mean-pool"

    def inputs(self, batch: Batch) -> Tensor:
        """(case, feature)."""
        bags = [complete(batch, name, self.who) for name in self.names]
        return torch.cat([masked_mean(bag.values, bag.mask) for bag in bags], dim=-1)


class AbmilNetwork(AttentionNetwork):
    """Linear, ReLU, dropout on each instance -> gated attention over the bag -> logits, perhaps through rho and fusion.

    Source: Ilse, Tomczak and Welling 2018. Without rho, Porpoise's wiring and start (Xavier-normal weights, zero
    biases); with it, those of the set-MIL file.
    """

    who = "abmil"

    def __init__(self, specs: Sequence[ModalitySpec], n_outputs: int, options: AbmilOptions) -> None:
        super().__init__(specs)
        self.embed = fully_connected(self.bag.dim, options.width, options.dropout)
        self.pool = GatedAttention(options.width, options.attention_width, dropout=options.dropout)
        self.read_out(n_outputs, options, rho=options.rho)
        for part in self.modules() if not options.rho else ():
            if isinstance(part, nn.Linear):
                nn.init.xavier_normal_(part.weight)
                nn.init.zeros_(part.bias)

    def attended(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The embedded instances."""
        bag = self.complete_bag(batch)
        return self.embed(bag.values), bag.mask

    def attend(self, batch: Batch) -> tuple[Tensor, Tensor]:
        bag = self.complete_bag(batch)
        return embed_and_pool(bag.values, bag.mask, self.embed, self.pool)

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """(case, 1, 1, instance) weights, summing to 1 over the real instances."""
        return {self.bag.name: one_head(self.attend(batch)[1])}


class DeepsetsNetwork(BagNetwork):
    """Linear, ReLU, dropout on each instance -> mean or sum over the bag -> rho -> logits, perhaps through fusion.

    Source: Zaheer et al. 2017, in the wiring of the set-MIL file.
    """

    who = "deepsets"

    def __init__(self, specs: Sequence[ModalitySpec], n_outputs: int, options: DeepsetsOptions) -> None:
        super().__init__(specs)
        self.embed = fully_connected(self.bag.dim, options.width, options.dropout)
        self.over_bag = {"mean": masked_mean, "sum": masked_sum}[options.pool]
        self.read_out(n_outputs, options)

    def pooled(self, batch: Batch) -> Tensor:
        bag = self.complete_bag(batch)
        return self.over_bag(self.embed(bag.values), bag.mask)
