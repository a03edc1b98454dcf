"""The gated Kronecker product of two or three vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from math import prod
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench.nn import Dropout
from fusionbench_pathomic_fusion.options import PathomicOptions


def started(linear: nn.Linear) -> nn.Linear:
    """Weights N(0, 1 / fan-in), biases 0: the published start of all but the bilinear gates and the head."""
    nn.init.normal_(linear.weight, std=1 / math.sqrt(linear.in_features))
    nn.init.zeros_(linear.bias)
    return linear


def layer(before: int, after: int, rate: float) -> nn.Sequential:
    """Linear, ReLU, dropout."""
    return nn.Sequential(started(nn.Linear(before, after)), nn.ReLU(), Dropout(rate))


class BilinearGate(nn.Bilinear):
    """(case, a) and (case, b) -> (case, width): a bilinear form of both; torch's start, as published."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:  # type: ignore[override]
        # torch's own form does not take half precision inside
        half = torch.einsum("ca,kab->ckb", left, self.weight)
        return (half * right.unsqueeze(1)).sum(dim=-1) + self.bias


class LinearGate(nn.Module):
    """(case, a) and (case, b) -> (case, width): a linear map of both side by side."""

    def __init__(self, left: int, right: int, width: int) -> None:
        super().__init__()
        self.linear = started(nn.Linear(left + right, width))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return cast(Tensor, self.linear(torch.cat([left, right], dim=-1)))


class Branch(nn.Module):
    """A vector -> o, reduced in width.

    With a gate: h = ReLU(W_h v), o = ReLU(W_o (sigmoid(z) h)) with z the gate's answer to two of the vectors. Without:
    o = ReLU(W_o v). Then dropout.

    Args:
        width, reduced: of the vector and of o.
        pair: widths of the two vectors that gate it; None = no gate.
    """

    def __init__(self, width: int, reduced: int, pair: tuple[int, int] | None, options: PathomicOptions) -> None:
        super().__init__()
        gates = {"bilinear": BilinearGate, "linear": LinearGate}
        self.value = None if pair is None else nn.Sequential(started(nn.Linear(width, reduced)), nn.ReLU())
        self.gate = None if pair is None else gates[options.gate](*pair, reduced)
        self.out = layer(width if pair is None else reduced, reduced, options.dropout)

    def forward(self, vector: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """(case, width), and the two vectors that gate it -> (case, reduced)."""
        if self.value is None or self.gate is None:
            return cast(Tensor, self.out(vector))
        return cast(Tensor, self.out(self.gate(left, right).sigmoid() * self.value(vector)))


def kronecker(parts: Sequence[Tensor]) -> Tensor:
    """Of [o, 1] each, the 1 last and the first vector outermost: (case, product of width + 1)."""
    product = parts[0].new_ones(len(parts[0]), 1)
    for part in parts:
        longer = F.pad(part, (0, 1), value=1.0)
        product = (product.unsqueeze(2) * longer.unsqueeze(1)).flatten(start_dim=1)
    return product


class GatedKronecker(nn.Module):
    """Vectors of the roles path, (graph,) omic -> (case, fusion_width).

    Source: Chen et al. 2020, equations 5 to 8; unlike `fusionbench.nn.KroneckerFusion`, which is what MCAT and Porpoise
    made of it: gates are bilinear, a branch without gate has one layer less, what is skipped has its ones with it, and
    both layers on the product have dropout.

    Args:
        widths: role -> width of its vector.
    """

    def __init__(self, widths: Mapping[str, int], options: PathomicOptions) -> None:
        super().__init__()
        o, self.skip = options, options.skip
        reduced = {role: width // getattr(o, f"scale_{role}") for role, width in widths.items()}
        self.pairs = {role: self._pair(role, o) for role in widths}
        self.branches = nn.ModuleDict(
            {role: Branch(width, reduced[role], self._widths(role, widths, o), o) for role, width in widths.items()}
        )
        longer = [width + 1 for width in reduced.values()]
        self.dropout = Dropout(o.dropout)
        self.encode = layer(prod(longer), o.fusion_width, o.dropout)
        self.combine = layer(o.fusion_width + (sum(longer) if o.skip else 0), o.fusion_width, o.dropout)

    def _pair(self, role: str, options: PathomicOptions) -> tuple[str, str]:
        """The roles whose vectors gate this one's."""
        if role != "graph":
            return "path", "omic"
        return ("graph", "omic") if options.pairs == "A" else ("graph", "path")

    def _widths(self, role: str, widths: Mapping[str, int], options: PathomicOptions) -> tuple[int, int] | None:
        left, right = self.pairs[role]
        return (widths[left], widths[right]) if getattr(options, f"gate_{role}") else None

    def reduced(self, vectors: Mapping[str, Tensor]) -> list[Tensor]:
        """(case, reduced width) of each role."""
        pairs = {role: [vectors[name] for name in pair] for role, pair in self.pairs.items()}
        return [branch(vectors[role], *pairs[role]) for role, branch in self.branches.items()]

    def forward(self, vectors: Mapping[str, Tensor]) -> Tensor:
        parts = self.reduced(vectors)
        encoded = self.encode(self.dropout(kronecker(parts)))
        kept = [F.pad(part, (0, 1), value=1.0) for part in parts] if self.skip else []
        return cast(Tensor, self.combine(torch.cat([encoded, *kept], dim=-1)))
