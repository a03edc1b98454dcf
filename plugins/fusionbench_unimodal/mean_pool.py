"""The `mean-pool` model: the mean of each bag beside the vectors, then a network of plain layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from fusionbench import ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel
from fusionbench_unimodal.options import MeanPoolOptions, SnnOptions
from fusionbench_unimodal.snn import Snn

if TYPE_CHECKING:
    from fusionbench_unimodal.networks import MeanPoolNetwork


class MeanPool(TorchModel):
    """A multilayer perceptron on vectors and on the means of bags and grids.

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
        from fusionbench_unimodal.networks import MeanPoolNetwork  # loads torch

        return MeanPoolNetwork(list(specs.values()), task.n_outputs, self.options)
