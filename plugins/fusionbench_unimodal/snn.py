"""The `snn` model: a self-normalising network on vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from fusionbench import Batch, DataError, ModalitySpec, Options, Task
from fusionbench.nn import SNNBlock, TorchModel

Width = Annotated[int, Field(ge=1)]


class SnnOptions(Options):
    """Options of `snn`.

    Attributes:
        widths: of the hidden layers. Porpoise and MCAT: 4 x 256 ("small"); "big" is 1024, 1024, 1024, 256.
        dropout: AlphaDropout after each layer. Porpoise and MCAT: .25.
        activation: Porpoise and MCAT: ELU; Klambauer et al. 2017: SELU.
        init: "lecun" = N(0, 1 / fan-in) and zero biases (Porpoise, MCAT, Klambauer et al.); "torch" = torch's default.
    """

    widths: tuple[Width, ...] = Field((256, 256, 256, 256), min_length=1)
    dropout: float = Field(0.25, ge=0, lt=1)
    activation: Literal["elu", "selu"] = "elu"
    init: Literal["lecun", "torch"] = "lecun"


class SnnNetwork(nn.Module):
    """Vectors side by side, in the order of `specs` -> SNN blocks -> logits."""

    def __init__(self, specs: Sequence[ModalitySpec], n_outputs: int, options: SnnOptions) -> None:
        super().__init__()
        self.names = tuple(spec.name for spec in specs)
        widths = (sum(spec.dim for spec in specs), *options.widths)
        o = options
        self.blocks = nn.Sequential(
            *(SNNBlock(a, b, dropout=o.dropout, activation=o.activation, init=o.init) for a, b in pairwise(widths))
        )
        self.head = nn.Linear(widths[-1], n_outputs)
        if options.init == "lecun":
            nn.init.normal_(self.head.weight, std=widths[-1] ** -0.5)
            nn.init.zeros_(self.head.bias)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case lacks one of the vectors.
        """
        return cast(Tensor, self.head(self.blocks(torch.cat([self._vector(batch, n) for n in self.names], dim=-1))))

    @staticmethod
    def _vector(batch: Batch, name: str) -> Tensor:
        bag = batch.bags[name]
        if not bool(bag.present.all()):
            case = batch.ids[int((~bag.present).nonzero()[0])]
            raise DataError(f"case {case!r} has no {name!r}: snn needs every vector, or an imputed one")
        return bag.values[:, 0]


class Snn(TorchModel):
    """A self-normalising network; several vectors are concatenated in the suite's order."""

    name = "snn"
    version = "1"
    Options: ClassVar[type[Options]] = SnnOptions
    missing: ClassVar[Literal["native", "impute"]] = "impute"
    options: SnnOptions

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        other = next((spec for spec in specs.values() if spec.kind != "vector"), None)
        return None if other is None else f"takes vectors only; {other.name!r} is a {other.kind}"

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> SnnNetwork:
        return SnnNetwork(list(specs.values()), task.n_outputs, self.options)
