"""The `early-fusion` model: the paper's baseline, and a variant that keeps the instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self, cast

import torch
from fusionbench_healnet import HealNet, Healnet, HealnetOptions, NetworkOptions
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench import Bag, Batch, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel, complete, masked_mean

FUSED = "fused"
Statistic = Literal["mean", "sd", "min", "max"]


class EarlyFusionOptions(NetworkOptions):
    """HEALNet's options, and how the one input is made.

    Attributes:
        layout: "flat" = vectors side by side with the mean of each bag, one token (the paper's "single flattened
            tensor"; its repository flattens the padded bag itself, millions of columns that depend on the order of the
            patches); "tokens" = all instances in one sequence, zero-padded to the widest, with the modality's one-hot.
        reduce: what stands for a bag under layout=flat, each column's statistics over the instances side by side. The
            mean alone keeps the widest bag as wide as an instance; ["mean", "sd", "min", "max"] keeps more of it.
    """

    layout: Literal["flat", "tokens"] = "flat"
    reduce: tuple[Statistic, ...] = Field(("mean",), min_length=1)

    @model_validator(mode="after")
    def _reduce_is_of_flat(self) -> Self:
        if len(set(self.reduce)) < len(self.reduce):
            raise ValueError(f"reduce names a statistic twice: {', '.join(self.reduce)}")
        if self.layout == "tokens" and self.reduce != ("mean",):
            raise ValueError("reduce belongs to layout=flat; layout=tokens keeps every instance")
        return self


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
        bag = Bag(token, token.new_ones(token.shape[:2], dtype=torch.bool))
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
        """The one map, cut by modality: (case, instance), each row of a present modality sums to 1."""
        weights = self.network.attention(self._fuse(batch))[FUSED]
        widths = [batch.bags[name].mask.shape[1] for name in self.names]
        parts = dict(zip(self.names, torch.split(weights, widths, dim=1), strict=True))
        tiny = torch.finfo(weights.dtype).tiny
        return {name: part / part.sum(dim=1, keepdim=True).clamp(min=tiny) for name, part in parts.items()}

    def _fuse(self, batch: Batch) -> Batch:
        bags = [batch.bags[name] for name in self.names]
        values = torch.cat([self._tagged(i, bag) for i, bag in enumerate(bags)], dim=1)
        return Batch(batch.ids, {FUSED: Bag(values, torch.cat([bag.mask for bag in bags], dim=1))})

    def _tagged(self, index: int, bag: Bag) -> Tensor:
        one_hot = F.one_hot(torch.tensor(index, device=bag.values.device), len(self.names)).to(bag.values.dtype)
        padded = F.pad(bag.values, (0, self.width - bag.values.shape[-1]))
        return torch.cat([padded, one_hot.expand(*padded.shape[:2], -1)], dim=-1)


class EarlyFusion(TorchModel):
    """Concatenate first, then HEALNet on one modality; the paper's baseline of that name.

    Both layouts are given complete cases, so that they differ in the layout only.
    """

    name = "early-fusion"
    version = f"1+healnet-{Healnet.version}"  # its network is HealNet's
    Options: ClassVar[type[Options]] = EarlyFusionOptions
    missing: ClassVar[Literal["native", "impute"]] = "impute"
    options: EarlyFusionOptions

    def search_space(self) -> SearchSpace:
        """HealNet's, whose network it is."""
        return Healnet(HealnetOptions()).search_space()

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        if len(specs) < 2:
            return f"fuses two modalities or more; {', '.join(map(repr, specs)) or 'none'} is all there is"
        return None

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        layout = FlatFusion if self.options.layout == "flat" else TokenFusion
        return layout(list(specs.values()), task.n_outputs, self.options)
