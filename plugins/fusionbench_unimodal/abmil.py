"""The `abmil` model: attention-based multiple-instance learning on one bag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from fusionbench import ModalitySpec, Options, Task
from fusionbench_unimodal.bag_model import BagModel, BagOptions

if TYPE_CHECKING:
    from fusionbench_unimodal.networks import AbmilNetwork


class AbmilOptions(BagOptions):
    """Options of `abmil`.

    Attributes:
        attention_width: of the gated attention. Porpoise's AMIL: 256 ("big": 384); set-MIL: 256.
        rho: False is Porpoise's AMIL, whose pooled bag goes to the head as it is, and True the set-MIL one. With
            fusion it is True, as published. Porpoise's AMIL has the same width and dropout as the set-MIL one.
    """

    attention_width: int = Field(256, ge=1)
    rho: bool = False

    @model_validator(mode="before")
    @classmethod
    def _fusion_has_rho(cls, given: Any) -> Any:
        """Resolve before validation, so that the options' values (and the cell key made of them) are what runs."""
        if not isinstance(given, Mapping) or given.get("fusion", "none") == "none":
            return given
        return {"rho": True, **given}

    @model_validator(mode="after")
    def _rho_is_where_it_is_needed(self) -> Self:
        if self.fusion != "none" and not self.rho:
            raise ValueError(f"fusion={self.fusion} takes the bag behind rho: leave rho out")
        if not self.rho and self.hidden != BagOptions.model_fields["hidden"].default:
            raise ValueError("hidden is the width of rho: set rho=true or leave hidden out")
        return self


class Abmil(BagModel):
    """Gated attention over the instances of one bag or grid, alone or fused with vectors."""

    name = "abmil"
    version = "2"
    Options: ClassVar[type[Options]] = AbmilOptions
    options: AbmilOptions

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> AbmilNetwork:
        from fusionbench_unimodal.networks import AbmilNetwork  # loads torch

        network = AbmilNetwork(list(specs.values()), task.n_outputs, self.options)
        network.who = self.name
        return network
