"""What models of one bag share: embed and pool the bag, fuse it with vectors where wanted, then the logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Literal, Self, cast, get_args

from pydantic import Field, model_validator
from torch import Tensor, nn

from fusionbench import Bag, Batch, Choice, Interval, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import (
    GatedAttention,
    SNNBlock,
    TorchModel,
    complete,
    fully_connected,
    fusion_of_equals,
    vectors,
)

_IDLE = {"none": ("scale", "vector_dropout"), "concat": ("scale",), "bilinear": ()}
"""Options that have no effect with a fusion."""


class BagOptions(Options):
    """Options of every model of one bag. "Set-MIL" is the file of MCAT (and Porpoise) that holds these models.

    Attributes:
        fusion: "none" takes one bag or grid; "concat" and "bilinear" (a gated Kronecker product) take vectors beside
            it, which are concatenated in the suite's order. Set-MIL has all three.
        width: of an embedded instance. Set-MIL: 512.
        hidden: width of rho (the layer after the pooling), of both layers of the vectors' branch and of the fusion.
            Set-MIL: 256.
        dropout: after every layer below the head but those of "concat". Set-MIL: .25.
        scale: "bilinear" reduces both embeddings to hidden / scale. Set-MIL: 8.
        vector_dropout: kind of dropout in the vectors' branch: "alpha" is AlphaDropout (set-MIL), "plain" is what `snn`
            has by default, for the reason given there.
    """

    fusion: Literal["none", "concat", "bilinear"] = "none"
    width: int = Field(512, ge=1)
    hidden: int = Field(256, ge=1)
    dropout: float = Field(0.25, ge=0, lt=1)
    scale: int = Field(8, ge=1)
    vector_dropout: Literal["alpha", "plain"] = "alpha"

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        for name in _IDLE[self.fusion]:
            if getattr(self, name) != BagOptions.model_fields[name].default:
                raise ValueError(f"{name} has no effect with fusion={self.fusion}: leave it out")
        if self.fusion == "bilinear" and self.hidden < self.scale:
            raise ValueError(f"scale={self.scale} divides hidden={self.hidden}: hidden must be at least scale")
        return self


class BagNetwork(nn.Module, ABC):
    """One bag to a vector -> rho: Linear, ReLU, dropout -> fusion with the vectors -> logits.

    A network makes its own parts in `__init__` and then calls `read_out` for the others.

    Source: the set-MIL file of MCAT; torch's default start, as there.

    Attributes:
        who: the model's name, for messages.
    """

    who: str

    def __init__(self, specs: Sequence[ModalitySpec]) -> None:
        super().__init__()
        self.bag = next(spec for spec in specs if spec.kind != "vector")
        self.vectors = tuple(spec for spec in specs if spec.kind == "vector")

    @abstractmethod
    def pooled(self, batch: Batch) -> Tensor:
        """(case, width)."""

    def read_out(self, n_outputs: int, options: BagOptions, *, rho: bool = True) -> None:
        """Make rho (or nothing in its place), the vectors' branch, the fusion and the head."""
        o, width = options, options.hidden if rho else options.width
        self.rho = fully_connected(o.width, o.hidden, o.dropout) if rho else nn.Identity()
        if o.fusion != "none":
            widths = (sum(spec.dim for spec in self.vectors), o.hidden, o.hidden)
            self.omic = nn.Sequential(*(_snn_block(a, b, o) for a, b in pairwise(widths)))
            self.fusion = fusion_of_equals(o.fusion, o.hidden, scale=o.scale, dropout=o.dropout)
        self.head = nn.Linear(width, n_outputs)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case lacks a modality.
        """
        embedding = self.rho(self.pooled(batch))
        if self.vectors:
            beside = self.omic(vectors(batch, [spec.name for spec in self.vectors], self.who))
            embedding = self.fusion(embedding, beside)
        return cast(Tensor, self.head(embedding))

    def complete_bag(self, batch: Batch) -> Bag:
        """The bag, of every case."""
        return complete(batch, self.bag.name, self.who)


def _snn_block(in_dim: int, out_dim: int, o: BagOptions) -> SNNBlock:
    return SNNBlock(in_dim, out_dim, dropout=o.dropout, dropout_kind=o.vector_dropout, init="torch")


class AttentionNetwork(BagNetwork):
    """Pools by gated attention."""

    pool: GatedAttention

    @abstractmethod
    def attended(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What attention chooses from, (case, item, width), and which of it is there, (case, item) bool."""

    @abstractmethod
    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """(case, instance) weights, summing to 1 over the real instances."""

    def pooled(self, batch: Batch) -> Tensor:
        return cast(Tensor, self.pool(*self.attended(batch))[0])


class BagModel(TorchModel):
    """A model of one bag or grid, and with `fusion` of the vectors beside it."""

    missing: ClassVar[Literal["native", "impute"]] = "impute"
    options: BagOptions

    def search_space(self) -> SearchSpace:
        return {**super().search_space(), "dropout": Interval(0.0, 0.5), "width": Choice((128, 256, 512))}

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        fusion = self.options.fusion
        named = [spec.name for spec in specs.values() if spec.kind == "vector"]
        bags = [spec.name for spec in specs.values() if spec.kind != "vector"]
        if not bags and fusion == "none":
            return f"takes bags and grids only; {named[0]!r} is a vector"
        if len(bags) > 1:
            return f"takes exactly one bag; there are {len(bags)}: {', '.join(map(repr, bags))}"
        if named and fusion == "none":
            return f"takes the bag {bags[0]!r} alone{self._or_with(_quoted(named))}"
        if not bags:
            return f"fusion={fusion} joins a bag or grid with vectors; {_quoted(named)} is all there is"
        if not named and fusion != "none":
            return f"fusion={fusion} joins {bags[0]!r} with vectors, and there is none: set fusion=none"
        return None

    def _or_with(self, vectors: str) -> str:
        """What to set to take the vectors too, where the options leave a choice."""
        kinds = get_args(type(self.options).model_fields["fusion"].annotation)
        joining = [f"fusion={kind}" for kind in kinds if kind != "none"]
        return f": set {' or '.join(joining)} to add {vectors}" if joining else f", not {vectors} beside it"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
