"""The `early-fusion` model: the paper's baseline, and a variant that keeps the instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, cast

import torch
from fusionbench_healnet import HealNet, Healnet, HealnetOptions, NetworkOptions
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench import Bag, Batch, DataError, ModalitySpec, Options, Task
from fusionbench.nn import TorchModel

FUSED = "fused"


class EarlyFusionOptions(NetworkOptions):
    """HEALNet's options, and how the one input is made.

    Attributes:
        layout: "flat" = vectors side by side with the mean of each bag, one token (the paper's "single flattened
            tensor"; its repository flattens the padded bag itself, millions of columns that depend on the order of the
            patches); "tokens" = all instances in one sequence, zero-padded to the widest, with the modality's one-hot.
    """

    layout: Literal["flat", "tokens"] = "flat"


def _network(spec: ModalitySpec, n_outputs: int, options: EarlyFusionOptions) -> HealNet:
    """HEALNet on one modality."""
    return HealNet([spec], n_outputs, HealnetOptions(**options.model_dump(exclude={"layout"})))


class FlatFusion(nn.Module):
    """Vectors and the means of bags side by side, as one token."""

    def __init__(self, specs: Sequence[ModalitySpec], n_outputs: int, options: EarlyFusionOptions) -> None:
        super().__init__()
        self.names = tuple(spec.name for spec in specs)
        fused = ModalitySpec(FUSED, "vector", sum(spec.dim for spec in specs))
        self.network = _network(fused, n_outputs, options)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case lacks a modality; what stands for it is the harness's choice, not a zero of ours.
        """
        token = torch.cat([self._mean(batch, name) for name in self.names], dim=-1).unsqueeze(1)
        bag = Bag(token, token.new_ones(token.shape[:2], dtype=torch.bool))
        return cast(Tensor, self.network(Batch(batch.ids, {FUSED: bag})))

    @staticmethod
    def _mean(batch: Batch, name: str) -> Tensor:
        bag = batch.bags[name]
        if not bool(bag.present.all()):
            case = batch.ids[int((~bag.present).nonzero()[0])]
            raise DataError(f"case {case!r} has no {name!r}: early fusion needs every modality, or an imputed one")
        real = bag.mask.unsqueeze(-1)
        return (bag.values * real).sum(dim=1) / real.sum(dim=1)


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

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        if len(specs) < 2:
            return f"fuses two modalities or more; {', '.join(map(repr, specs)) or 'none'} is all there is"
        return None

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        layout = FlatFusion if self.options.layout == "flat" else TokenFusion
        return layout(list(specs.values()), task.n_outputs, self.options)
