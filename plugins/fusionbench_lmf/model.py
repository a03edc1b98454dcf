"""The `lmf` model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fusionbench import Interval, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel
from fusionbench_lmf.options import LmfOptions

if TYPE_CHECKING:
    from fusionbench_lmf.network import LmfNetwork


class Lmf(TorchModel):
    """LMF: a low-rank product of one vector a modality (Liu et al. 2018); any number of vectors, bags and grids.

    Departures from the published program, which takes exactly audio, video and text: any number of modalities, each of
    which a case may lack; a batch of one case can be run; the dropout after the fusion, which the program makes and
    never uses, is not there. The factors have a learning rate of their own, as published, with `recipe=own`.
    """

    name = "lmf"
    Options: ClassVar[type[Options]] = LmfOptions
    missing: ClassVar[Literal["native", "impute"]] = "native"
    options: LmfOptions

    @property
    def ordered_instances(self) -> bool:
        """Whether the order of a bag's instances is read."""
        return self.options.bag == "lstm"

    def search_space(self) -> SearchSpace:
        own = {"rank": Interval(1, 16), "width": Interval(4, 64), "dropout": Interval(0.0, 0.5)}
        return {**super().search_space(), **own}

    def recipe(self) -> Mapping[str, Any]:
        if self.options.recipe == "suite":
            return {}
        return {
            "optimizer": "adam",
            "lr": 5e-4,
            "weight_decay": 2e-3,
            "group": [{"parameters": ["fusion.factors.*"], "lr": self.options.factor_lr}],
            "batch_size": 32,
            "accumulate": 1,
            "epochs": 500,
            "patience": 20,
            "schedule": "constant",
            "warmup": 0.0,
            "hold": 0.0,
        }

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> LmfNetwork:
        from fusionbench_lmf.embedding import embedders  # loads torch
        from fusionbench_lmf.network import LmfNetwork

        embed = embedders(list(specs.values()), self.options.width, self.options)
        return LmfNetwork(tuple(specs), embed, task.n_outputs, self.options)
