"""The `early-fusion` model: the paper's baseline, and a variant that keeps the instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from fusionbench_healnet import Healnet, HealnetOptions, NetworkOptions
from pydantic import Field, model_validator

from fusionbench import ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel

if TYPE_CHECKING:
    from torch import nn

Statistic = Literal["mean", "sd", "min", "max"]


class EarlyFusionOptions(NetworkOptions):
    """HEALNet's options, and how the one input is made.

    Attributes:
        layout: "flat" = vectors side by side with the mean of each bag, one token (the paper's "single flattened
            tensor"; its repository flattens the padded bag itself, millions of columns that depend on the order of the
            patches); "tokens" = all instances in one sequence, zero-padded to the widest, with the modality's one-hot.
        reduce: what stands for a bag under layout=flat, each column's statistics over the instances side by side. The
            mean alone keeps the widest bag as wide as an instance; ["mean", "sd", "min", "max"] keeps more of it.
    """

    layout: Literal["flat", "tokens"] = "flat"
    reduce: tuple[Statistic, ...] = Field(("mean",), min_length=1)

    @model_validator(mode="after")
    def _reduce_is_of_flat(self) -> Self:
        if len(set(self.reduce)) < len(self.reduce):
            raise ValueError(f"reduce names a statistic twice: {', '.join(self.reduce)}")
        if self.layout == "tokens" and self.reduce != ("mean",):
            raise ValueError("reduce belongs to layout=flat; layout=tokens keeps every instance")
        return self


class EarlyFusion(TorchModel):
    """Concatenate first, then HEALNet on one modality; the paper's baseline of that name.

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
