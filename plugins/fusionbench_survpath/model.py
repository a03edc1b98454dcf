"""The `survpath` model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fusionbench_mcat import without_columns
from fusionbench_porpoise import SLIDES_AND_TABLES, not_bag_and_vectors, sides

from fusionbench import DataError, Interval, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel
from fusionbench_survpath.options import SurvPathOptions

if TYPE_CHECKING:
    from fusionbench_survpath.network import SurvPathNetwork

_OWN = {
    "optimizer": "radamw",
    "lr": 5e-4,
    "weight_decay": 1e-4,
    "schedule": "constant",
    "epochs": 5,
    "alpha": 0.5,
    "clamp": 1e-7,
    "batch_size": 1,
    "max_instances": 4096,
    "patience": None,
    "restore_best": False,
}


class SurvPath(TorchModel):
    """SurvPath: pathways and patches look at one another (Jaume et al. 2024); one bag or grid, one vector or more.

    A token is a declared feature group of a vector; groups may overlap, and may have one column. A vector that declares
    no groups is a token of its own. Columns outside all groups of a vector that has groups, and groups without a
    column, are left out; notes in the results say which. Of a grid, the positions are not looked at.

    A case without the bag has its pathways look at one another alone, and zeros as the mean of its patches. A vector
    that a case lacks is read as zeros: its groups give the constant tokens of their biases, as a published group does
    of whose genes the table has none, so that patches can still be read.

    Departures from the published class: cases come in batches, padded and masked (it takes one at a time, and attends
    to the padding of its loader: padding=attended); patches have any width; genes are those of the very patient, where
    the published loader takes another one's.
    """

    name = "survpath"
    Options: ClassVar[type[Options]] = SurvPathOptions
    missing: ClassVar[Literal["native", "impute"]] = "native"
    options: SurvPathOptions

    def recipe(self) -> Mapping[str, Any]:
        return _OWN if self.options.recipe == "own" else {}

    def search_space(self) -> SearchSpace:
        return {**super().search_space(), "dropout": Interval(0.0, 0.5)}

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        return not_bag_and_vectors(specs, SLIDES_AND_TABLES) or without_columns(specs.values(), self.options.groups)

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> SurvPathNetwork:
        """
        Raises:
            DataError: if the groups lost their columns in preprocessing (levels that no training case has).
        """
        from fusionbench_survpath.network import SurvPathNetwork  # loads torch

        if (reason := self.skip(task, specs)) is not None:
            raise DataError(f"survpath: {reason}")
        return SurvPathNetwork(*sides(specs), task.n_outputs, self.options)
