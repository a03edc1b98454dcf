"""DSMIL as a torch module: a Batch in, logits and in training perhaps the loss of the second head out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from fusionbench_unimodal import BagNetwork
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench import Batch, ClassTargets, ModalitySpec, Outputs, SurvivalTargets
from fusionbench.nn import Dropout, fully_connected, masked_softmax
from fusionbench.survival import discrete_hazard_nll
from fusionbench_dsmil.options import DsmilOptions


@dataclass(frozen=True, eq=False)
class Streams:
    """What both streams make of a batch of bags.

    Attributes:
        scores: (case, instance, output) of each instance alone; what stands at padding is not to be read.
        highest: (case, output), the scores of the critical instances.
        critical: (case, output) int64, which instance that is.
        queries: (case, instance, query width).
        values: (case, instance, width).
        weights: (case, instance, output), each output's sum to 1 over the real instances.
        bag: (case, output, width), the values pooled by the weights of each output.
    """

    scores: Tensor
    highest: Tensor
    critical: Tensor
    queries: Tensor
    values: Tensor
    weights: Tensor
    bag: Tensor


class DsmilNetwork(BagNetwork):
    """Scores of instances; attention by likeness to the highest one of each output; logits of the bag and of both.

    Source: Li et al. 2021. The published 1-D convolution over the outputs' vectors is the head, one linear map of all
    of them.
    """

    who = "dsmil"

    def __init__(self, specs: Sequence[ModalitySpec], n_outputs: int, options: DsmilOptions) -> None:
        super().__init__(specs)
        o = self.options = options
        dim = o.width or self.bag.dim
        self.embed = fully_connected(self.bag.dim, o.width, o.pool_dropout) if o.width else nn.Identity()
        self.score = nn.Linear(dim, n_outputs)
        first, second = nn.Linear(dim, o.query_width), nn.Linear(o.query_width, o.query_width)
        self.query = first if o.query == "linear" else nn.Sequential(first, nn.ReLU(), second, nn.Tanh())
        value = nn.Identity() if o.value == "identity" else nn.Linear(dim, dim)
        self.value = nn.Sequential(Dropout(o.pool_dropout), value, nn.ReLU() if o.value == "relu" else nn.Identity())
        self.read_out(n_outputs, o, rho=o.fusion != "none", pooled_width=n_outputs * dim)
        self.reads_targets = o.head == "two"
        own = [self.embed, self.score, self.query, self.value, *([self.head] if o.fusion == "none" else [])]
        for part in (part for block in own for part in block.modules()) if o.start == "orthogonal" else ():
            if isinstance(part, nn.Linear):
                nn.init.orthogonal_(part.weight)
                nn.init.zeros_(part.bias)

    def forward(self, batch: Batch) -> Tensor | Outputs:  # type: ignore[override]
        """(case, n_outputs) logits; with head=two in training also the loss of the highest instances.

        Raises:
            DataError: if a case lacks a modality.
        """
        streams = self.streams(batch)
        logits = self.logits(streams.bag.flatten(start_dim=1), batch)
        if self.options.head == "mean":
            return 0.5 * (logits + streams.highest)
        if not self.training or batch.targets is None:
            return logits
        return Outputs(logits, {"highest": _loss(streams.highest, batch)}, {"loss": 0.5, "highest": 0.5})

    def streams(self, batch: Batch) -> Streams:
        """Both streams of the bag."""
        bag = self.complete_bag(batch)
        mask = bag.mask.unsqueeze(2)
        instances = self.embed(bag.values)
        scores = self.score(instances)
        highest, critical = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).max(dim=1)
        queries, values = self.query(instances), self.value(instances)
        asked = queries.gather(1, critical.unsqueeze(2).expand(-1, -1, queries.shape[2]))
        weights = masked_softmax(queries @ asked.transpose(1, 2) / math.sqrt(queries.shape[2]), mask, dim=1)
        return Streams(scores, highest, critical, queries, values, weights, weights.transpose(1, 2) @ values)

    def pooled(self, batch: Batch) -> Tensor:
        """(case, n_outputs * width), the outputs' vectors side by side."""
        return self.streams(batch).bag.flatten(start_dim=1)

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """(case, 1, output, instance) weights, each row summing to 1 over the real instances."""
        return {self.bag.name: self.streams(batch).weights.transpose(1, 2).unsqueeze(1)}


def _loss(logits: Tensor, batch: Batch) -> Tensor:
    """(case,): the likelihood of time bins or of classes, without weights."""
    if isinstance(batch.targets, ClassTargets):
        if logits.shape[1] == 1:
            return F.binary_cross_entropy_with_logits(logits[:, 0], batch.targets.label.to(logits), reduction="none")
        return F.cross_entropy(logits, batch.targets.label, reduction="none")
    assert isinstance(batch.targets, SurvivalTargets)
    return discrete_hazard_nll(logits, batch.targets.time_bin, batch.targets.event)
