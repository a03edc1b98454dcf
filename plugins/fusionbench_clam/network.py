"""CLAM as a torch module: a Batch in, logits and in training the loss on instances out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from fusionbench_unimodal import BagNetwork
from torch import Tensor, nn

from fusionbench import Batch, ClassTargets, ModalitySpec, Outputs, SurvivalTargets
from fusionbench.nn import GatedAttention, dropout, embed_and_pool, fully_connected, masked_softmax
from fusionbench_clam.instances import InstanceLoss
from fusionbench_clam.options import ClamOptions


class BranchAttention(GatedAttention):
    """Scores of the instances of a bag, one a branch.

    Without gates, the score of an instance h is w . tanh(V h) + b.
    """

    def __init__(self, branches: int, options: ClamOptions) -> None:
        o = options
        super().__init__(o.width, o.attention_width, dropout=o.attention_dropout)
        self.gated = o.gated
        if not o.gated:
            self.project = nn.Linear(o.width, o.attention_width)
        self.score = nn.Linear(o.attention_width, branches)

    def of_branches(self, instances: Tensor) -> Tensor:
        """(case, instance, width) -> (case, instance, branch), before the softmax."""
        if self.gated:
            value, gate = self.project(instances).chunk(2, dim=-1)
            mixed = dropout(value.tanh() * gate.sigmoid(), self.rate)
        else:
            mixed = self.dropout(self.project(instances).tanh())
        return cast(Tensor, self.score(mixed))


class ClamNetwork(BagNetwork):
    """Linear, ReLU, dropout on each instance -> attention, one or one an output -> logits, perhaps through fusion.

    Source: Lu et al. 2021. In fusion what is pooled goes through rho and on as in `abmil`.

    Args:
        classes: of cases, or time bins, for instance=label.
    """

    who = "clam"

    def __init__(self, specs: Sequence[ModalitySpec], n_outputs: int, options: ClamOptions, *, classes: int) -> None:
        super().__init__(specs)
        o, fused = options, options.fusion != "none"
        self.options = o
        self.branches = n_outputs if o.branches == "output" else 1
        self.embed = fully_connected(self.bag.dim, o.width, o.dropout)
        self.pool = BranchAttention(self.branches, o)
        pooled = o.model_copy(update={"width": self.branches * o.width}) if fused else o
        self.read_out(n_outputs, pooled, rho=fused)
        heads = {"off": 0, "bag": 1, "event": 2, "label": classes}[o.instance]
        self.instance = InstanceLoss(o.width, heads, o) if heads else None
        self.reads_targets = o.instance in ("event", "label")
        for part in self.modules() if o.start == "xavier" else ():
            if isinstance(part, nn.Linear):
                for own in part.weight.chunk(self._layers_of(part)):
                    nn.init.xavier_normal_(own)
                nn.init.zeros_(part.bias)

    def _layers_of(self, part: nn.Linear) -> int:
        """Published layers that one of ours holds, one below the other: each has a fan-out of its own."""
        if part is self.pool.project and self.options.gated:
            return 2
        if part is self.pool.score or (part is self.head and self.branches > 1 and self.options.fusion == "none"):
            return self.branches
        return self.instance.classes if self.instance is not None and part is self.instance.heads else 1

    def forward(self, batch: Batch) -> Tensor | Outputs:  # type: ignore[override]
        """(case, n_outputs) logits; in training with the loss on instances, where there is one and targets for it.

        Raises:
            DataError: if a case lacks a modality.
        """
        if self.instance is None or not self.training or (self.reads_targets and batch.targets is None):
            return self.logits(self.pooled(batch), batch)
        bag = self.complete_bag(batch)
        instances, scores = self.scored(batch)
        logits = self.logits(_pooled(instances, scores, bag.mask), batch)
        label, counted = self._told(batch)
        loss = self.instance(instances, scores, bag.mask, label) * counted
        weight = self.options.bag_weight
        return Outputs(logits, {"instance": loss}, {"loss": weight, "instance": 1.0 - weight})

    def pooled(self, batch: Batch) -> Tensor:
        """(case, branch, width)."""
        bag = self.complete_bag(batch)
        if self.branches == 1 and self.options.gated:
            return embed_and_pool(bag.values, bag.mask, self.embed, self.pool)[0].unsqueeze(1)
        return _pooled(*self.scored(batch), bag.mask)

    def scored(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(case, instance, width) embedded, and (case, instance, branch) scores before the softmax."""
        instances = self.embed(self.complete_bag(batch).values)
        return instances, self.pool.of_branches(instances)

    def logits(self, pooled: Tensor, batch: Batch) -> Tensor:
        """(case, branch, width) -> (case, n_outputs)."""
        if self.options.fusion == "none" and self.branches > 1:  # each output of what its own branch pools
            return cast(Tensor, (pooled * self.head.weight).sum(dim=2) + self.head.bias)
        return super().logits(pooled.flatten(start_dim=1), batch)

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """(case, 1, branch, instance) weights, each row summing to 1 over the real instances."""
        scores = self.scored(batch)[1].transpose(1, 2)
        mask = self.complete_bag(batch).mask
        return {self.bag.name: masked_softmax(scores, mask.unsqueeze(1)).unsqueeze(1)}

    def _told(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(case,) int64, which head each case speaks for, and (case,) bool, whether its loss counts."""
        targets, every = batch.targets, torch.ones(len(batch.ids), dtype=torch.bool, device=self.head.weight.device)
        if self.options.instance == "bag":  # there is one head
            return torch.zeros_like(every, dtype=torch.int64), every
        if isinstance(targets, ClassTargets):
            return targets.label, every
        assert isinstance(targets, SurvivalTargets)
        if self.options.instance == "event":
            return targets.event.long(), every
        return targets.time_bin, every if self.options.count_censored else targets.event


def _pooled(instances: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
    """(case, branch, width)."""
    weights = masked_softmax(scores, mask.unsqueeze(2), dim=1)
    return weights.transpose(1, 2) @ instances
