"""The `pathomic-fusion` model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from fusionbench import DataError, Interval, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel
from fusionbench_pathomic_fusion.options import PathomicOptions
from fusionbench_pathomic_fusion.roles import not_two_or_three, roles

if TYPE_CHECKING:
    from fusionbench_pathomic_fusion.network import PathomicNetwork


class PathomicFusion(TorchModel):
    """Pathomic Fusion: gated Kronecker product of two or three vectors (Chen et al. 2020); two or three modalities.

    A modality that a case lacks is imputed; published, such patients are left out.

    Departures from the published program: the whole network is trained at once, where the published networks of each
    modality are trained first, and the one on omic is frozen for the first epochs of the fusion; a patient is one bag
    and not many rows of one patch each; a bag is pooled by learned queries in place of the published network on
    pictures. A gate that is switched off may stand beside a scale above 1, which fails there; layers and gates without
    effect do not exist. The recipe (Adam with beta1 of .5, an L1 penalty on the layers of omic) is the suite's to set.
    """

    name = "pathomic-fusion"
    Options: ClassVar[type[Options]] = PathomicOptions
    missing: ClassVar[Literal["native", "impute"]] = "impute"
    options: PathomicOptions

    def search_space(self) -> SearchSpace:
        own = {"fusion_width": Interval(32, 128), "dropout": Interval(0.0, 0.5)}
        return {**super().search_space(), **own}

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        return not_two_or_three(specs, self.options)

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> PathomicNetwork:
        """
        Raises:
            DataError: if the modalities are not two or three with clear roles.
        """
        from fusionbench_pathomic_fusion.network import PathomicNetwork, encoder  # loads torch

        if (reason := self.skip(task, specs)) is not None:
            raise DataError(f"pathomic-fusion: {reason}")
        o, found = self.options, roles(specs, self.options)
        encoders = {role: encoder(role, spec, o) for role, spec in found.items()}
        every = {"path": o.path_width, "graph": o.graph_width, "omic": o.omic_widths[-1]}
        return PathomicNetwork(found, encoders, {role: every[role] for role in found}, task.n_outputs, o)
