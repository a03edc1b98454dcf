"""The `abmil` model: attention-based multiple-instance learning on one bag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from fusionbench import Batch, ModalitySpec, Options, Task
from fusionbench.nn import GatedAttention, fully_connected, one_head
from fusionbench_unimodal.bag_model import AttentionNetwork, BagModel, BagOptions


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


class AbmilNetwork(AttentionNetwork):
    """Linear, ReLU, dropout on each instance -> gated attention over the bag -> logits, perhaps through rho and fusion.

    Source: Ilse, Tomczak and Welling 2018. Without rho, Porpoise's wiring and start (Xavier-normal weights, zero
    biases); with it, those of the set-MIL file.
    """

    who = "abmil"

    def __init__(self, specs: Sequence[ModalitySpec], n_outputs: int, options: AbmilOptions) -> None:
        super().__init__(specs)
        self.embed = fully_connected(self.bag.dim, options.width, options.dropout)
        self.pool = GatedAttention(options.width, options.attention_width, dropout=options.dropout)
        self.read_out(n_outputs, options, rho=options.rho)
        for part in self.modules() if not options.rho else ():
            if isinstance(part, nn.Linear):
                nn.init.xavier_normal_(part.weight)
                nn.init.zeros_(part.bias)

    def attended(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The embedded instances."""
        bag = self.complete_bag(batch)
        return self.embed(bag.values), bag.mask

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """(case, 1, 1, instance) weights, summing to 1 over the real instances."""
        return {self.bag.name: one_head(self.pool(*self.attended(batch))[1])}


class Abmil(BagModel):
    """Gated attention over the instances of one bag or grid, alone or fused with vectors."""

    name = "abmil"
    version = "2"
    Options: ClassVar[type[Options]] = AbmilOptions
    options: AbmilOptions

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> AbmilNetwork:
        network = AbmilNetwork(list(specs.values()), task.n_outputs, self.options)
        network.who = self.name
        return network
