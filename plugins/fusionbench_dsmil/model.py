"""The `dsmil` model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from fusionbench_unimodal import PoolerModel

from fusionbench import DataError, ModalitySpec, Options, SearchSpace, Task
from fusionbench_dsmil.options import DsmilOptions

if TYPE_CHECKING:
    from fusionbench_dsmil.network import DsmilNetwork


class Dsmil(PoolerModel):
    """DSMIL: each output looks at the instances that are like its critical one, of the highest score (Li et al. 2021).

    With `fusion`, all outputs' vectors of the bag go side by side through rho and into the fusion; the scores of the
    critical instances are still part of the logits or of the loss (`head`), since nothing else teaches which instances
    are critical. A case without the bag or a vector is imputed: there is no critical instance of nothing.

    Departures from the published program: batches of several cases, in which padding has no score; classes exclude one
    another. `recipe=own` ends its cosine at 0, where the program stops at a twentieth of the first rate.
    """

    name = "dsmil"
    Options: ClassVar[type[Options]] = DsmilOptions
    options: DsmilOptions
    published: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "optimizer": "adam",
            "lr": 1e-4,
            "betas": (0.5, 0.9),
            "weight_decay": 1e-3,
            "batch_size": 1,
            "epochs": 50,
            "patience": 10,
            "schedule": "cosine",
        }
    )

    def search_space(self) -> SearchSpace:
        return {name: kind for name, kind in super().search_space().items() if name != "width"}

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        """A reason where modalities do not fit, or where the second head has no loss."""
        if (reason := super().skip(task, specs)) is not None:
            return reason
        if self.options.head == "two" and task.kind == "survival" and task.n_outputs == 1:
            return "head=two has a loss of time bins or classes; with the cox loss set head=mean"
        return None

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> DsmilNetwork:
        """
        Raises:
            DataError: modalities or endpoint do not fit.
        """
        from fusionbench_dsmil.network import DsmilNetwork  # loads torch

        if (reason := self.skip(task, specs)) is not None:
            raise DataError(f"dsmil: {reason}")
        return DsmilNetwork(list(specs.values()), task.n_outputs, self.options)
