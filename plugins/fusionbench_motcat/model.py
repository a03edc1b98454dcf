"""The `motcat` model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fusionbench_mcat import without_columns
from fusionbench_porpoise import SLIDES_AND_TABLES, not_bag_and_vectors, sides

from fusionbench import DataError, Interval, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel
from fusionbench_motcat.options import MotcatOptions

if TYPE_CHECKING:
    from fusionbench_motcat.network import MotcatNetwork

_OWN = {
    "optimizer": "adam",
    "lr": 2e-4,
    "weight_decay": 1e-5,
    "schedule": "constant",
    "epochs": 20,
    "batch_size": 1,
    "accumulate": 32,
    "clamp": 1e-7,
    "patience": None,
    "restore_best": False,
}


class Motcat(TorchModel):
    """MOTCat: optimal transport brings instances to feature groups (Xu and Chen 2023); one bag or grid, vectors.

    MCAT with a transport plan in place of its co-attention: see `Mcat` for tokens and what is left out. The plan moves
    mass between all instances and all groups of a case, so that a case without either has none: it is imputed.

    Departures from the published class: cases come in batches, padded and masked (it takes one at a time); any number
    of groups (it reads six) and a bag of one instance; the plan is computed in double precision by the balanced solver,
    too, and in the log domain, where small `reg` does not end it early. The published micro-batches, random parts of a
    bag whose losses and risks are averaged, are not there: its own current version runs whole bags.
    """

    name = "motcat"
    Options: ClassVar[type[Options]] = MotcatOptions
    missing: ClassVar[Literal["native", "impute"]] = "impute"
    options: MotcatOptions

    def recipe(self) -> Mapping[str, Any]:
        return _OWN if self.options.recipe == "own" else {}

    def search_space(self) -> SearchSpace:
        own = {"dropout": Interval(0.0, 0.5), "reg": Interval(0.02, 0.5, log=True)}
        return {**super().search_space(), **own}

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        return not_bag_and_vectors(specs, SLIDES_AND_TABLES) or without_columns(specs.values(), self.options.groups)

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> MotcatNetwork:
        """
        Raises:
            DataError: if the groups lost their columns in preprocessing (levels that no training case has).
        """
        from fusionbench_motcat.network import MotcatNetwork  # loads torch

        if (reason := self.skip(task, specs)) is not None:
            raise DataError(f"motcat: {reason}")
        return MotcatNetwork(*sides(specs), task.n_outputs, self.options)
