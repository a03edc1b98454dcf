"""The `early-fusion` model: the paper's baseline, and a variant that keeps the instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from fusionbench_healnet import Healnet, HealnetOptions

from fusionbench import ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel
from fusionbench_early_fusion.options import EarlyFusionOptions

if TYPE_CHECKING:
    from torch import nn


class EarlyFusion(TorchModel):
    """All modalities concatenated into one, which HEALNet then takes; the HEALNet paper's early-fusion baseline.

    Both layouts are given complete cases, so that they differ in the layout only.
    """

    name = "early-fusion"
    version = f"1+healnet-{Healnet.version}"  # its network is HealNet's
    Options: ClassVar[type[Options]] = EarlyFusionOptions
    missing: ClassVar[Literal["native", "impute"]] = "impute"
    options: EarlyFusionOptions

    def search_space(self) -> SearchSpace:
        """HealNet's, whose network it is."""
        return Healnet(HealnetOptions()).search_space()

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        if len(specs) < 2:
            return f"fuses two modalities or more; {', '.join(map(repr, specs)) or 'none'} is all there is"
        return None

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        from fusionbench_early_fusion.networks import FlatFusion, TokenFusion  # loads torch

        layout = FlatFusion if self.options.layout == "flat" else TokenFusion
        return layout(list(specs.values()), task.n_outputs, self.options)
