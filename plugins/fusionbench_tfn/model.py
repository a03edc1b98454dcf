"""The `tfn` model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from fusionbench import DataError, Interval, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel
from fusionbench_tfn.options import TfnOptions

if TYPE_CHECKING:
    from fusionbench_tfn.network import TfnNetwork


class Tfn(TorchModel):
    """TFN: the outer product of one vector a modality (Zadeh et al. 2017); any number of vectors, bags and grids.

    A modality that a case lacks has a vector of zeros, which leaves all products without it.

    Departures from the published program, which takes exactly audio, video and text: any number of modalities, each of
    which a case may lack; with many of them the vectors are narrower, so that the product stays within `max_product`
    numbers; a batch of one case can be run; logits are not bounded unless `bounded` is set.
    """

    name = "tfn"
    Options: ClassVar[type[Options]] = TfnOptions
    missing: ClassVar[Literal["native", "impute"]] = "native"
    options: TfnOptions

    @property
    def ordered_instances(self) -> bool:
        """Whether the order of a bag's instances is read."""
        return self.options.bag == "lstm"

    def search_space(self) -> SearchSpace:
        own = {"fusion_width": Interval(16, 128), "fusion_dropout": Interval(0.0, 0.5), "dropout": Interval(0.0, 0.5)}
        return {**super().search_space(), **own}

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        """A reason where the outer product is larger than `max_product`."""
        count, most = len(specs), self.options.max_product
        width = self.options.width_of(count)
        if width >= 1 and (width + 1) ** count <= most:
            return None
        room = self.options.model_copy(update={"width": None}).width_of(count)
        least = max(width, 1)
        size = f"the outer product of {count} vectors of width {least} has {(least + 1) ** count:,} numbers"
        remedy = f"set width to {room} or less, or raise max_product" if room else "raise max_product"
        return f"{size}, max_product is {most:,}: {remedy}"

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> TfnNetwork:
        """
        Raises:
            DataError: if the outer product is larger than `max_product`.
        """
        from fusionbench_lmf import embedders  # loads torch

        from fusionbench_tfn.network import TfnNetwork

        if (reason := self.skip(task, specs)) is not None:
            raise DataError(f"tfn: {reason}")
        embed = embedders(list(specs.values()), self.options.width_of(len(specs)), self.options)
        return TfnNetwork(tuple(specs), embed, task.n_outputs, self.options)
