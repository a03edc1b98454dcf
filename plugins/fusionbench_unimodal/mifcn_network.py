"""The network of `mifcn`: attention over the clusters that the instances of a bag fall into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from fusionbench import Batch, ModalitySpec
from fusionbench.nn import GatedAttention, fully_connected, masked_softmax, one_head
from fusionbench_unimodal.bag_network import AttentionNetwork
from fusionbench_unimodal.clusters import NearestCentroid
from fusionbench_unimodal.options import MifcnOptions


class Assign(Protocol):
    """Says which cluster each instance belongs to.

    Attributes:
        used: (cluster,) bool, False for clusters that nothing can belong to.
    """

    used: Tensor

    def __call__(self, batch: Batch) -> Tensor:
        """(case, instance) int64, -1 where padded."""
        ...


class MifcnNetwork(AttentionNetwork):
    """Two layers of each cluster's own on its instances, their mean -> gated attention over clusters -> rho -> logits.

    A cluster without instances in a bag is a zero vector, and attention may look at it, as published.

    Source: Yao et al. 2020 (DeepAttnMISL), in the wiring of the set-MIL file.

    Attributes:
        notes: lines for the reader of the results.
    """

    who = "mifcn"
    notes: tuple[str, ...] = ()

    def __init__(
        self, specs: Sequence[ModalitySpec], n_outputs: int, options: MifcnOptions, assign: nn.Module | None = None
    ) -> None:
        """`assign` is an `Assign`; by default the nearest centroid."""
        super().__init__(specs)
        o, dim = options, self.bag.dim
        self.assign = assign or NearestCentroid(self.bag.name, o.clusters, dim)
        self.phis = nn.ModuleList(
            nn.Sequential(*fully_connected(dim, o.width, o.dropout), *fully_connected(o.width, o.width, o.dropout))
            for _ in range(o.clusters)
        )
        self.embed = fully_connected(o.width, o.width, o.dropout)
        self.pool = GatedAttention(o.width, o.attention_width, dropout=o.dropout)
        self.read_out(n_outputs, o)

    def attended(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The embedded clusters."""
        return self._clusters(batch, self._assigned(batch))

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """(case, 1, 1, instance): a cluster's weight in equal shares to its instances.

        What attention gives to clusters without instances is left out, and the others' weights are scaled to sum 1.
        """
        ids = self._assigned(batch)
        clusters, used = self._clusters(batch, ids)
        counts = torch.stack([(ids == c).sum(dim=1) for c in range(used.shape[1])], dim=1)
        share = masked_softmax(self.pool.scores(clusters), counts > 0) / counts.clamp(min=1)
        return {self.bag.name: one_head(share.gather(1, ids.clamp(min=0)).masked_fill(ids < 0, 0.0))}

    def _assigned(self, batch: Batch) -> Tensor:
        self.complete_bag(batch)
        return cast(Tensor, self.assign(batch))

    def _clusters(self, batch: Batch, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(case, cluster, width) embedded means, and which clusters there are."""
        values, used = batch.bags[self.bag.name].values, cast(Assign, self.assign).used
        means = torch.stack([_mean(phi, values, ids == c) for c, phi in enumerate(self.phis)], dim=1)
        return self.embed(means), used.expand(len(values), -1)


def _mean(phi: nn.Module, values: Tensor, mine: Tensor) -> Tensor:
    """(case, width): the mean over those instances of (case, instance, feature) that `mine` marks, zeros if none."""
    case, instance = mine.nonzero(as_tuple=True)
    embedded = phi(values[case, instance])
    total = embedded.new_zeros(len(values), embedded.shape[-1]).index_add(0, case, embedded)
    return cast(Tensor, total / mine.sum(dim=1, keepdim=True).clamp(min=1))
