"""The `abmil` model: attention-based multiple-instance learning on one bag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from fusionbench import ModalitySpec, Options, Task
from fusionbench_unimodal.bag_model import BagModel
from fusionbench_unimodal.options import AbmilOptions

if TYPE_CHECKING:
    from fusionbench_unimodal.networks import AbmilNetwork


class Abmil(BagModel):
    """Gated attention over the instances of one bag or grid, alone or fused with vectors."""

    name = "abmil"
    version = "2"
    Options: ClassVar[type[Options]] = AbmilOptions
    options: AbmilOptions

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> AbmilNetwork:
        from fusionbench_unimodal.networks import AbmilNetwork  # loads torch

        network = AbmilNetwork(list(specs.values()), task.n_outputs, self.options)
        network.who = self.name
        return network
