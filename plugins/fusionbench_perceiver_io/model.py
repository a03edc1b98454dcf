"""The `perceiver-io` model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from fusionbench import Interval, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel
from fusionbench_perceiver_io.options import PerceiverIoOptions

if TYPE_CHECKING:
    from fusionbench_perceiver_io.network import PerceiverIoNetwork


class PerceiverIo(TorchModel):
    """Perceiver IO: latents read all tokens at once (Jaegle et al. 2022); any vectors, bags and grids.

    The tokens of a modality that a case lacks are not there: nothing of it is computed. All modalities share one
    softmax, so that a bag of ten thousand instances competes with the one token of a vector.
    """

    name = "perceiver-io"
    Options: ClassVar[type[Options]] = PerceiverIoOptions
    missing: ClassVar[Literal["native", "impute"]] = "native"
    options: PerceiverIoOptions

    @property
    def ordered_instances(self) -> bool:
        """Whether the order of a bag's instances is read."""
        return self.options.positions == "all"

    def search_space(self) -> SearchSpace:
        own = {"latents": Interval(8, 64), "blocks": Interval(1, 4), "dropout": Interval(0.0, 0.5)}
        return {**super().search_space(), **own}

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> PerceiverIoNetwork:
        from fusionbench_perceiver_io.network import PerceiverIoNetwork  # loads torch

        return PerceiverIoNetwork(specs.values(), task.n_outputs, self.options)
