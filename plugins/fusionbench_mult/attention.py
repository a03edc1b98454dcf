"""Attention of tokens on tokens, with biases."""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench.nn import dropout, masked_softmax


class MultiHeadAttention(nn.Module):
    """Tokens look at tokens; no residual and no norm inside.

    Weights are softmax(q k^T / sqrt(dim / heads)) over the tokens that may be seen; q, k, v and the output have biases.
    A token that may see nothing sees zeros, and is given the output's bias.

    Source: Vaswani et al. 2017; Xavier-uniform start of the three projections as one matrix, zero biases.

    Args:
        dropout: on the weights.
    """

    def __init__(self, dim: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.project = nn.Linear(dim, 3 * dim)  # rows: query, key, value
        self.out = nn.Linear(dim, dim)
        for weight in (self.project.weight, self.out.weight):
            nn.init.xavier_uniform_(weight)
        for bias in (self.project.bias, self.out.bias):
            nn.init.zeros_(bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """(case, token, dim) and twice (case, source, dim) -> (case, token, dim), (case, head, token, source) weights.

        Args:
            seen: bool, broadcastable to (case, token, source); True = may be seen.
        """
        weights, biases = self.project.weight.chunk(3), self.project.bias.chunk(3)
        if key is value and key is query:
            q, k, v = (self._heads(x) for x in self.project(query).chunk(3, dim=-1))
        else:
            rows = zip((query, key, value), weights, biases, strict=True)
            q, k, v = (self._heads(F.linear(x, w, b)) for x, w, b in rows)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        looked = masked_softmax(scores, seen.unsqueeze(1))
        mixed = dropout(looked, self.rate if self.training else 0.0) @ v
        return cast(Tensor, self.out(mixed.transpose(1, 2).flatten(start_dim=2))), looked

    def _heads(self, x: Tensor) -> Tensor:
        """(case, token, head * width) -> (case, head, token, width)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
