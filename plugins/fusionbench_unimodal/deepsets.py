"""The `deepsets` model: embed each instance, then take the mean or the sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor

from fusionbench import Batch, ModalitySpec, Options, Task
from fusionbench.nn import fully_connected, masked_mean, masked_sum
from fusionbench_unimodal.bag_model import BagModel, BagNetwork, BagOptions


class DeepsetsOptions(BagOptions):
    """Options of `deepsets`. The published model: `deepsets[pool=sum]`.

    Attributes:
        pool: over the embedded instances. Set-MIL: the sum; ours is the mean, see `Deepsets`.
    """

    pool: Literal["mean", "sum"] = "mean"


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


class Deepsets(BagModel):
    """Deep sets over the instances of one bag or grid, alone or fused with vectors.

    The published sum is not normalised: over the thousands of patches of a slide it saturates the hazards. In MCAT's
    released results on slides alone, all cases of a fold have one identical risk in 16 of 25 folds. Hence the mean.
    """

    name = "deepsets"
    version = "2"
    Options: ClassVar[type[Options]] = DeepsetsOptions
    options: DeepsetsOptions

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> DeepsetsNetwork:
        return DeepsetsNetwork(list(specs.values()), task.n_outputs, self.options)
