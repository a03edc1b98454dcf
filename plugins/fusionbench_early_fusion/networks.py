"""One input made of several, and HEALNet on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from fusionbench_healnet import HealNet, HealnetOptions
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench import Bag, Batch, ModalitySpec
from fusionbench.nn import complete, masked_mean
from fusionbench_early_fusion.options import EarlyFusionOptions, Statistic

FUSED = "fused"


def _network(spec: ModalitySpec, n_outputs: int, options: EarlyFusionOptions) -> HealNet:
    """HEALNet on one modality."""
    return HealNet([spec], n_outputs, HealnetOptions(**options.model_dump(exclude={"layout", "reduce"})))


class FlatFusion(nn.Module):
    """Vectors, and the statistics of bags, side by side as one token."""

    def __init__(self, specs: Sequence[ModalitySpec], n_outputs: int, options: EarlyFusionOptions) -> None:
        super().__init__()
        self.kinds = {spec.name: spec.kind for spec in specs}
        self.reduce = options.reduce
        width = sum(spec.dim * (1 if spec.kind == "vector" else len(options.reduce)) for spec in specs)
        self.network = _network(ModalitySpec(FUSED, "vector", width), n_outputs, options)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case lacks a modality; what stands for it is the harness's choice, not a zero of ours.
        """
        token = torch.cat([part for name in self.kinds for part in self._flat(batch, name)], dim=-1).unsqueeze(1)
        bag = Bag(token, token.new_ones(token.shape[:2], dtype=torch.bool), known=torch.arange(len(token)))
        return cast(Tensor, self.network(Batch(batch.ids, {FUSED: bag})))

    def _flat(self, batch: Batch, name: str) -> list[Tensor]:
        """(case, feature) each."""
        bag = complete(batch, name, "early fusion")
        if self.kinds[name] == "vector":
            return [bag.values[:, 0]]
        return [_statistic(bag, statistic) for statistic in self.reduce]


def _statistic(bag: Bag, statistic: Statistic) -> Tensor:
    """(case, feature): a statistic of each column over the real instances; sd with ddof 0, 0 for one instance."""
    real = bag.mask.unsqueeze(-1)
    if statistic in ("min", "max"):
        bound = float("inf") if statistic == "min" else float("-inf")
        filled = bag.values.masked_fill(~real, bound)
        return filled.amin(dim=1) if statistic == "min" else filled.amax(dim=1)
    mean = masked_mean(bag.values, bag.mask)
    if statistic == "mean":
        return mean
    away = (bag.values - mean.unsqueeze(1)).masked_fill(~real, 0.0)
    variance = masked_mean(away.square(), bag.mask)
    # the root has no gradient at 0, which one instance gives
    return variance.clamp(min=torch.finfo(variance.dtype).tiny).sqrt()


class TokenFusion(nn.Module):
    """All instances of all modalities as one bag; an instance is its padded values and its modality's one-hot."""

    def __init__(self, specs: Sequence[ModalitySpec], n_outputs: int, options: EarlyFusionOptions) -> None:
        super().__init__()
        self.names = tuple(spec.name for spec in specs)
        self.width = max(spec.dim for spec in specs)
        self.network = _network(ModalitySpec(FUSED, "bag", self.width + len(specs)), n_outputs, options)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits."""
        return cast(Tensor, self.network(self._fuse(batch)))

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """The one map, cut by modality: (case, layer, head, instance), each row of a present modality sums to 1."""
        weights = self.network.attention(self._fuse(batch))[FUSED]
        widths = [batch.bags[name].mask.shape[1] for name in self.names]
        cut = dict(zip(self.names, torch.split(weights, widths, dim=-1), strict=True))
        tiny = torch.finfo(weights.dtype).tiny
        return {name: part / part.sum(dim=-1, keepdim=True).clamp(min=tiny) for name, part in cut.items()}

    def _fuse(self, batch: Batch) -> Batch:
        bags = [batch.bags[name] for name in self.names]
        values = torch.cat([self._tagged(i, bag) for i, bag in enumerate(bags)], dim=1)
        mask = torch.cat([bag.mask for bag in bags], dim=1)
        return Batch(batch.ids, {FUSED: Bag(values, mask, known=torch.cat([bag.rows for bag in bags]).unique())})

    def _tagged(self, index: int, bag: Bag) -> Tensor:
        padded = F.pad(bag.values, (0, self.width - bag.values.shape[-1]))
        one_hot = padded.new_zeros(len(self.names))
        one_hot[index] = 1.0
        return torch.cat([padded, one_hot.expand(*padded.shape[:2], -1)], dim=-1)
