"""What networks of one bag share: embed and pool the bag, fuse it with vectors where wanted, then the logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from fusionbench import Bag, Batch, ModalitySpec
from fusionbench.nn import GatedAttention, SNNBlock, complete, fully_connected, fusion_of_equals, vectors
from fusionbench_unimodal.options import BagOptions


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

    def read_out(
        self, n_outputs: int, options: BagOptions, *, rho: bool = True, pooled_width: int | None = None
    ) -> None:
        """Make rho (or nothing in its place), the vectors' branch, the fusion and the head.

        Args:
            pooled_width: of what `pooled` gives, if it is another than the options' width.
        """
        o, pooled_width = options, pooled_width or options.width
        self.rho = fully_connected(pooled_width, o.hidden, o.dropout) if rho else nn.Identity()
        if o.fusion != "none":
            widths = (sum(spec.dim for spec in self.vectors), o.hidden, o.hidden)
            self.omic = nn.Sequential(*(_snn_block(a, b, o) for a, b in pairwise(widths)))
            self.fusion = fusion_of_equals(o.fusion, o.hidden, scale=o.scale, dropout=o.dropout)
        self.head = nn.Linear(o.hidden if rho else pooled_width, n_outputs)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case lacks a modality.
        """
        return self.logits(self.pooled(batch), batch)

    def logits(self, pooled: Tensor, batch: Batch) -> Tensor:
        """(case, width) of the bag, and the vectors beside it -> (case, n_outputs)."""
        embedding = self.rho(pooled)
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
        """(case, 1, 1, instance) weights, summing to 1 over the real instances."""

    def attend(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(case, width) pooled, and the (case, item) weights."""
        return cast(tuple[Tensor, Tensor], self.pool(*self.attended(batch)))

    def pooled(self, batch: Batch) -> Tensor:
        return self.attend(batch)[0]
