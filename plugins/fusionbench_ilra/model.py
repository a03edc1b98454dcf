"""The `ilra` model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from fusionbench_unimodal import PoolerModel

from fusionbench import ModalitySpec, Options, Task
from fusionbench_ilra.options import IlraOptions

if TYPE_CHECKING:
    from fusionbench_ilra.network import IlraNetwork


class Ilra(PoolerModel):
    """ILRA-MIL: in each layer a few latent tokens read the bag, then each instance reads them (Xiang and Zhang 2023).

    The cost is linear in the instances. With `fusion`, the pooled token goes through rho and into the fusion. A case
    without the bag or a vector is imputed. Departures from the published program: bags of any lengths side by side, of
    which padding is not read.
    """

    name = "ilra"
    Options: ClassVar[type[Options]] = IlraOptions
    options: IlraOptions
    published: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "optimizer": "adam",
            "lr": 1e-4,
            "batch_size": 1,
            "epochs": 100,
            "schedule": "cosine",
            "patience": None,
            "restore_best": False,
        }
    )

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> IlraNetwork:
        from fusionbench_ilra.network import IlraNetwork  # loads torch

        return IlraNetwork(list(specs.values()), task.n_outputs, self.options)
