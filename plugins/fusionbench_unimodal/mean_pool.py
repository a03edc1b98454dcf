"""The `mean-pool` model: the mean of each bag beside the vectors, then a network of plain layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fusionbench import Batch, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel, complete, masked_mean
from fusionbench_unimodal.snn import Snn, SnnNetwork, SnnOptions


class MeanPoolOptions(SnnOptions):
    """Options of `mean-pool`: those of `snn`, whose layers it has; its defaults were settled there."""


class MeanPoolNetwork(SnnNetwork):
    """The mean of each modality's instances, side by side in the order of `specs` -> SNN blocks -> logits."""

    who = "mean-pool"

    def inputs(self, batch: Batch) -> Tensor:
        """(case, feature)."""
        bags = [complete(batch, name, self.who) for name in self.names]
        return torch.cat([masked_mean(bag.values, bag.mask) for bag in bags], dim=-1)


class MeanPool(TorchModel):
    """Plain layers on the means of bags and grids and on vectors, of any modalities.

    A control: what a model of bags has to beat. It differs from `snn` by the means alone, and on vectors it is `snn`.
    """

    name = "mean-pool"
    version = f"1+snn-{Snn.version}"  # its layers are snn's
    Options: ClassVar[type[Options]] = MeanPoolOptions
    missing: ClassVar[Literal["native", "impute"]] = "impute"
    options: MeanPoolOptions

    def search_space(self) -> SearchSpace:
        return Snn(SnnOptions()).search_space()

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> MeanPoolNetwork:
        return MeanPoolNetwork(list(specs.values()), task.n_outputs, self.options)
