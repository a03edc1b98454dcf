"""The models `mcat`, `mcat-omic` and `mcat-wsi`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from fusionbench_porpoise import PorpoiseSnn, not_bag_and_vectors, sides
from fusionbench_unimodal import Abmil

from fusionbench import DataError, Interval, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel
from fusionbench_mcat.groups import without_columns
from fusionbench_mcat.options import McatOptions, McatWsiOptions

if TYPE_CHECKING:
    from fusionbench_mcat.network import McatNetwork


class Mcat(TorchModel):
    """MCAT: feature groups attend to the instances of a bag (Chen et al. 2021); one bag or grid, one vector or more.

    A token is a declared feature group of a vector (the six gene groups of a TCGA cohort). A vector that declares no
    groups is a token of its own, such as the clinical columns beside omic, or each of HANCOCK's tables; MCAT itself
    reads no clinical columns. Columns outside all groups of a vector that has groups are left out, as published, and
    so are groups without a column; notes in the results say which. Of a grid, the positions are not looked at.

    Departures from the published class: cases come in batches, padded and masked (it takes one at a time; HEALNet's
    batched copy lets patients see one another's patches); any number of groups and several vectors; "big" is of the
    groups' layers only, since that of the bag cannot run there. HEALNet's copy has one token for all columns
    (groups=one) and does not use its poolings, which over one token changes nothing.

    `dropout_kind=plain` and a small `head_scale` are what makes `snn` a fair control (see `Snn` of
    fusionbench_unimodal); the defaults stay the published ones, so that a row of this name is what was published.
    """

    name = "mcat"
    version = "2"
    Options: ClassVar[type[Options]] = McatOptions
    missing: ClassVar[Literal["native", "impute"]] = "impute"
    options: McatOptions

    def search_space(self) -> SearchSpace:
        return {**super().search_space(), "dropout": Interval(0.0, 0.5), "layers": Interval(1, 3)}

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        return not_bag_and_vectors(specs) or without_columns(specs.values(), self.options.groups)

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> McatNetwork:
        """
        Raises:
            DataError: if the groups lost their columns in preprocessing (levels that no training case has).
        """
        from fusionbench_mcat.network import McatNetwork  # loads torch

        if (reason := self.skip(task, specs)) is not None:
            raise DataError(f"mcat: {reason}")
        return McatNetwork(*sides(specs), task.n_outputs, self.options)


class McatOmic(PorpoiseSnn):
    """MCAT's omic-only row: the self-normalising network of Porpoise on all columns, not on the groups alone.

    Its published recipe has an L1 penalty of 1e-4, which is the suite's to set.
    """

    name = "mcat-omic"


class McatWsi(Abmil):
    """MCAT's image-only row: `abmil` with one more layer (rho) on the pooled bag.

    Unlike `porpoise-amil`, which has no such layer and starts Xavier-normal.
    """

    name = "mcat-wsi"
    version = f"1+abmil-{Abmil.version}"  # its network is that one's
    Options: ClassVar[type[Options]] = McatWsiOptions
