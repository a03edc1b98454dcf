"""The `multimodn` model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from fusionbench import DataError, Interval, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel
from fusionbench_multimodn.options import START, MultiModNOptions

if TYPE_CHECKING:
    from fusionbench_multimodn.network import MultiModNNetwork


class MultiModN(TorchModel):
    """MultiModN: a state that one modality after the other updates (Swamy et al. 2023); any vectors, bags and grids.

    A modality that a case lacks leaves the case's state as it is. The state is decoded before and after each modality:
    all of these predictions are trained, and scored as `after:start`, `after:clinical` and so on; at the start all
    cases have one prediction.

    Departures from the published program, which skips a modality for a whole batch where one case lacks it
    (`skip_whole_batch`), takes classes alone and squashes their scores twice (`squash`): bags are pooled in front of
    their encoder; hidden layers are as wide in all encoders; the loss is the endpoint's own.
    """

    name = "multimodn"
    Options: ClassVar[type[Options]] = MultiModNOptions
    missing: ClassVar[Literal["native", "impute"]] = "native"
    options: MultiModNOptions

    def search_space(self) -> SearchSpace:
        own = {"state": Interval(8, 64), "dropout": Interval(0.0, 0.5), "change_penalty": Interval(0.0, 0.1)}
        return {**super().search_space(), **own}

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        """A reason where the order leaves out a modality, or one has the name of the first step."""
        order = self.options.order
        if order and (left := [name for name in specs if name not in order]):
            return f"order names {', '.join(order)} and leaves out {', '.join(map(repr, left))}"
        if START in specs:
            return f"the step before any modality is called {START!r}, and so is a modality: rename it"
        return None

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> MultiModNNetwork:
        """
        Raises:
            DataError: the order leaves out a modality, or one has the name of the first step.
        """
        from fusionbench_multimodn.network import Decoder, MultiModNNetwork, encoders, readers  # loads torch

        if (reason := self.skip(task, specs)) is not None:
            raise DataError(f"multimodn: {reason}")
        o, names = self.options, [name for name in self.options.order if name in specs] or list(specs)
        ordered = [specs[name] for name in names]
        read = readers(ordered, o)
        widths = [o.bag_width if s.kind != "vector" and o.bag == "attention" else s.dim for s in ordered]
        return MultiModNNetwork(names, read, encoders(widths, o), Decoder(o.state, o.decoder, task.n_outputs), o)
