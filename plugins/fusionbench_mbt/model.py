"""The `mbt` model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from fusionbench import Interval, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel
from fusionbench_mbt.options import MbtOptions

if TYPE_CHECKING:
    from fusionbench_mbt.network import MbtNetwork


class Mbt(TorchModel):
    """MBT: transformers that exchange through bottleneck tokens (Nagrani et al. 2021); any vectors, bags and grids.

    A modality that a case lacks is left out of the means over modalities, of bottlenecks and of logits, and nothing of
    it is computed. No position is learned: tokens are sets, and places in a grid are Fourier features.

    Departures from the published program: it starts from weights of ImageNet and skips whole layers in training; both
    are left out. Its loss may be the mean of the losses of each modality's logits: here by `supervised=each`.
    """

    name = "mbt"
    Options: ClassVar[type[Options]] = MbtOptions
    missing: ClassVar[Literal["native", "impute"]] = "native"
    options: MbtOptions

    @property
    def ordered_instances(self) -> bool:
        """Whether the order of a bag's instances is read."""
        return self.options.positions == "all"

    def search_space(self) -> SearchSpace:
        own = {"layers": Interval(2, 4), "bottlenecks": Interval(1, 16), "dropout": Interval(0.0, 0.5)}
        return {**super().search_space(), **own}

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> MbtNetwork:
        from fusionbench_mbt.network import MbtNetwork  # loads torch

        return MbtNetwork(specs.values(), task.n_outputs, self.options)
