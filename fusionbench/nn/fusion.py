"""Two embeddings to one."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from fusionbench.nn.blocks import fully_connected
from fusionbench.nn.fast_dropout import Dropout


class ConcatFusion(nn.Module):
    """Two embeddings side by side -> Linear, ReLU -> Linear, ReLU.

    Args:
        dims: widths of the two embeddings.
        hidden: width of both layers and of the result.

    Source: Chen et al. 2022 (Porpoise) and 2021 (MCAT), fusion "concat".
    """

    def __init__(self, dims: tuple[int, int], hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(sum(dims), hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """(case, dims[0]) and (case, dims[1]) -> (case, hidden)."""
        return cast(Tensor, self.layers(torch.cat([left, right], dim=-1)))


class KroneckerFusion(nn.Module):
    """Gated Kronecker product of two embeddings.

    Each embedding x is reduced to h = ReLU(W x), gated by sigmoid of a linear map of both embeddings, and passed
    through Linear, ReLU, dropout to o. The outer product of [o_left, 1] and [o_right, 1], flattened with left outside,
    goes through two Linear, ReLU layers; with `skip` both embeddings are appended before the second.

    Args:
        dims: widths of the two embeddings.
        hidden: width of the two last layers and of the result.
        scale: each embedding is reduced to its width divided by this.
        gates: whether each embedding is gated.
        skip: append both embeddings before the last layer.
        dropout: after o and on the outer product.
        encoder_dropout: after each of the two last layers; MCAT has .25, Porpoise none.

    Raises:
        ValueError: if an embedding is narrower than its scale.

    Source: Chen et al. 2020 (pathomic fusion), as in Porpoise and MCAT, fusion "bilinear". The published gate is a
    linear map of both embeddings side by side; the bilinear gate of the paper is never switched on there.
    """

    def __init__(
        self,
        dims: tuple[int, int],
        hidden: int,
        *,
        scale: tuple[int, int] = (8, 8),
        gates: tuple[bool, bool] = (True, True),
        skip: bool = False,
        dropout: float = 0.25,
        encoder_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if dims[0] < scale[0] or dims[1] < scale[1]:
            raise ValueError(f"Kronecker fusion divides widths {dims} by {scale}: each must be at least its divisor")
        reduced = (dims[0] // scale[0], dims[1] // scale[1])
        self.skip = skip
        self.value = nn.ModuleList(
            nn.Sequential(nn.Linear(d, r), nn.ReLU()) for d, r in zip(dims, reduced, strict=True)
        )
        self.gate = nn.ModuleList(
            nn.Linear(sum(dims), r) if gated else nn.Identity() for r, gated in zip(reduced, gates, strict=True)
        )
        self.out = nn.ModuleList(fully_connected(r, r, dropout) for r in reduced)
        self.gates, self.dropout = gates, Dropout(dropout)
        product = (reduced[0] + 1) * (reduced[1] + 1)
        self.encode = fully_connected(product, hidden, encoder_dropout)
        self.combine = fully_connected(hidden + (sum(dims) if skip else 0), hidden, encoder_dropout)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """(case, dims[0]) and (case, dims[1]) -> (case, hidden)."""
        both = torch.cat([left, right], dim=-1)
        first, second = (self._reduced(i, x, both) for i, x in enumerate((left, right)))
        # The appended ones keep both embeddings themselves in the product, beside their pairwise products.
        product = torch.einsum("ci,cj->cij", first, second).flatten(start_dim=1)
        encoded = self.encode(self.dropout(product))
        return cast(Tensor, self.combine(torch.cat([encoded, both], dim=-1) if self.skip else encoded))

    def _reduced(self, i: int, x: Tensor, both: Tensor) -> Tensor:
        """(case, reduced + 1): the reduced embedding and a last column of ones."""
        value = self.value[i](x)
        if self.gates[i]:
            value = self.gate[i](both).sigmoid() * value
        return nn.functional.pad(self.out[i](value), (0, 1), value=1.0)


def fusion_of_equals(kind: Literal["concat", "bilinear"], width: int, *, scale: int, dropout: float) -> nn.Module:
    """Twice (case, width) -> (case, width), as MCAT and its set-MIL file fuse."""
    if kind == "concat":
        return ConcatFusion((width, width), width)
    return KroneckerFusion((width, width), width, scale=(scale, scale), dropout=dropout, encoder_dropout=dropout)
