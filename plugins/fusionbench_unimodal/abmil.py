"""The `abmil` model: attention-based multiple-instance learning on one bag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, cast

from pydantic import Field
from torch import Tensor, nn

from fusionbench import Batch, DataError, ModalitySpec, Options, Task
from fusionbench.nn import GatedAttention, TorchModel


class AbmilOptions(Options):
    """Options of `abmil`.

    Attributes:
        width: of an embedded instance. Porpoise's AMIL: 512.
        attention_width: of the gated attention. Porpoise's AMIL: 256 ("big": 384).
        dropout: after the embedding and in both branches of the attention. Porpoise's AMIL: .25.
    """

    width: int = Field(512, ge=1)
    attention_width: int = Field(256, ge=1)
    dropout: float = Field(0.25, ge=0, lt=1)


class AbmilNetwork(nn.Module):
    """Linear, ReLU, dropout on each instance -> gated attention over the bag -> logits.

    Source: Ilse, Tomczak and Welling 2018, with Porpoise's wiring and start (Xavier-normal weights, zero biases).
    """

    def __init__(self, spec: ModalitySpec, n_outputs: int, options: AbmilOptions) -> None:
        super().__init__()
        self.name = spec.name
        self.embed = nn.Sequential(nn.Linear(spec.dim, options.width), nn.ReLU(), nn.Dropout(options.dropout))
        self.pool = GatedAttention(options.width, options.attention_width, dropout=options.dropout)
        self.head = nn.Linear(options.width, n_outputs)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_normal_(part.weight)
                nn.init.zeros_(part.bias)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case has no bag.
        """
        return cast(Tensor, self.head(self._pool(batch)[0]))

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """(case, instance) weights, summing to 1 over the real instances."""
        return {self.name: self._pool(batch)[1]}

    def _pool(self, batch: Batch) -> tuple[Tensor, Tensor]:
        bag = batch.bags[self.name]
        if not bool(bag.present.all()):
            case = batch.ids[int((~bag.present).nonzero()[0])]
            raise DataError(f"case {case!r} has no {self.name!r}, the only modality of abmil: leave it out")
        return cast("tuple[Tensor, Tensor]", self.pool(self.embed(bag.values), bag.mask))


class Abmil(TorchModel):
    """Gated attention over the instances of one bag or grid."""

    name = "abmil"
    version = "1"
    Options: ClassVar[type[Options]] = AbmilOptions
    missing: ClassVar[Literal["native", "impute"]] = "impute"
    options: AbmilOptions

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        vector = next((spec for spec in specs.values() if spec.kind == "vector"), None)
        if vector is not None:
            return f"takes bags and grids only; {vector.name!r} is a vector"
        if len(specs) != 1:
            return f"takes exactly one bag; there are {len(specs)}: {', '.join(map(repr, specs))}"
        return None

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> AbmilNetwork:
        (spec,) = specs.values()
        return AbmilNetwork(spec, task.n_outputs, self.options)
