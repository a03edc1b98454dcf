"""The models `porpoise`, `porpoise-amil` and `porpoise-snn`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from fusionbench_unimodal import Abmil, Snn

from fusionbench import Interval, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel
from fusionbench_porpoise.options import PorpoiseAmilOptions, PorpoiseOptions, PorpoiseSnnOptions
from fusionbench_porpoise.takes import not_bag_and_vectors, sides

if TYPE_CHECKING:
    from fusionbench_porpoise.networks import PorpoiseNetwork


class Porpoise(TorchModel):
    """Porpoise's multimodal fusion (Chen et al. 2022): one bag or grid, and one vector or more.

    Vectors are put side by side in the suite's order; the published table has clinical and omic columns in one vector
    too. Of a grid, the positions are not looked at. Departures from the published class: cases come in batches, padded
    and masked (it takes one at a time); the weights of a gate that is switched off do not exist (there, they never
    change); its options that cannot run (low-rank fusion, "big", one modality alone) are not offered.

    `dropout_kind=plain` and a small `head_scale` are what makes `snn` a fair control (see `Snn` of
    fusionbench_unimodal); the defaults stay the published ones, so that a row of this name is what was published.
    """

    name = "porpoise"
    version = "2"
    Options: ClassVar[type[Options]] = PorpoiseOptions
    missing: ClassVar[Literal["native", "impute"]] = "impute"
    options: PorpoiseOptions

    def search_space(self) -> SearchSpace:
        return {**super().search_space(), "dropout": Interval(0.0, 0.5), "input_dropout": Interval(0.0, 0.3)}

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        return not_bag_and_vectors(specs)

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> PorpoiseNetwork:
        from fusionbench_porpoise.networks import PorpoiseNetwork  # loads torch

        return PorpoiseNetwork(*sides(specs), task.n_outputs, self.options)


class PorpoiseAmil(Abmil):
    """Porpoise's image-only row: gated attention over one bag or grid, `abmil` with its default options."""

    name = "porpoise-amil"
    version = f"1+abmil-{Abmil.version}"  # its network is that one's
    Options: ClassVar[type[Options]] = PorpoiseAmilOptions


class PorpoiseSnn(Snn):
    """Porpoise's self-normalising network on vectors: `snn` with AlphaDropout and a head of full size."""

    name = "porpoise-snn"
    version = f"1+snn-{Snn.version}"  # its network is that one's
    Options: ClassVar[type[Options]] = PorpoiseSnnOptions
