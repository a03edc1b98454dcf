"""Options of the `early-fusion` model."""

from __future__ import annotations

from typing import Literal, Self

from fusionbench_healnet import NetworkOptions
from pydantic import Field, model_validator

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
