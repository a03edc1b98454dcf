"""The `deepsets` model: embed each instance, then take the mean or the sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from fusionbench import ModalitySpec, Options, Task
from fusionbench_unimodal.bag_model import BagModel
from fusionbench_unimodal.options import DeepsetsOptions

if TYPE_CHECKING:
    from fusionbench_unimodal.networks import DeepsetsNetwork


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
        from fusionbench_unimodal.networks import DeepsetsNetwork  # loads torch

        return DeepsetsNetwork(list(specs.values()), task.n_outputs, self.options)
