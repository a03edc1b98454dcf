"""The `clam` model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from fusionbench_unimodal import BagModel

from fusionbench import DataError, ModalitySpec, Options, Task
from fusionbench_clam.options import ClamOptions

if TYPE_CHECKING:
    from fusionbench_clam.network import ClamNetwork


class Clam(BagModel):
    """CLAM: gated attention on one bag or grid (Lu et al. 2021), alone or fused with vectors.

    Its loss on instances teaches the embedding which of them speak for a class, by those that attention looks at most
    and least. It needs a class: the case's own, or for survival one of the readings that `instance` names. No public
    program is known to gain by it there, so it is off unless asked for.

    Departures from the published program: batches of several cases; a short bag is split in halves (`overlap`); those
    looked at most and least are chosen by scores, not by weights, of which many are equal to 0 in float32; heads that
    take no part in a step have a gradient of zero, so that they decay.
    """

    name = "clam"
    Options: ClassVar[type[Options]] = ClamOptions
    options: ClamOptions

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        """A reason where modalities do not fit, or where cases lack what the loss on instances is told."""
        if (reason := super().skip(task, specs)) is not None:
            return reason
        if self.options.instance == "event" and task.kind != "survival":
            return "instance=event needs follow-up; of classes set instance=label"
        if self.options.instance == "label" and task.n_outputs == 1:
            return "instance=label needs time bins or classes, and there is one output: set instance=event"
        return None

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> ClamNetwork:
        """
        Raises:
            DataError: modalities or endpoint do not fit.
        """
        from fusionbench_clam.network import ClamNetwork  # loads torch

        if (reason := self.skip(task, specs)) is not None:
            raise DataError(f"clam: {reason}")
        return ClamNetwork(list(specs.values()), task.n_outputs, self.options)
