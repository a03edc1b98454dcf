"""The `mult` model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from fusionbench import DataError, Interval, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel
from fusionbench_mult.options import MultOptions

if TYPE_CHECKING:
    from fusionbench_mult.network import MultNetwork


class Mult(TorchModel):
    """MulT: each modality reads every other one by attention (Tsai et al. 2019); two vectors, bags or grids or more.

    A modality that a case lacks adds nothing to those that read it, and its own read-out is zero (`absent`).

    Departures from the published program, which takes three sequences of words, sounds and frames: tokens are a set, so
    that no order, no mask of the future and no last token count (`order`, `causal`, `readout` bring them back); padding
    is masked; bags become `bag_tokens` tokens; networks that nothing depends on are not made; keys and values of a
    source have one embedding dropout between them. One target alone is `target`.
    """

    name = "mult"
    Options: ClassVar[type[Options]] = MultOptions
    missing: ClassVar[Literal["native", "impute"]] = "native"
    options: MultOptions

    @property
    def ordered_instances(self) -> bool:
        """Whether the order of a bag's instances is read."""
        return self.options.ordered

    def search_space(self) -> SearchSpace:
        own = {"layers": Interval(1, 5), "dropout": Interval(0.0, 0.5), "embedding_dropout": Interval(0.0, 0.5)}
        return {**super().search_space(), **own}

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        """A reason where there is nothing to read, or no such target."""
        if len(specs) < 2:
            return f"fuses two modalities or more; {', '.join(map(repr, specs)) or 'none'} is all there is"
        if self.options.target and self.options.target not in specs:
            return f"target={self.options.target} is none of the modalities {', '.join(map(repr, specs))}"
        return None

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> MultNetwork:
        """
        Raises:
            DataError: if there are fewer than two modalities, or the target is none of them.
        """
        from fusionbench_mult.network import MultNetwork  # loads torch

        if (reason := self.skip(task, specs)) is not None:
            raise DataError(f"mult: {reason}")
        return MultNetwork(specs.values(), task.n_outputs, self.options)
