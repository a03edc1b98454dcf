"""A bag pooled by learned queries."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from fusionbench.nn.blocks import masked_softmax


class QueryPool(nn.Module):
    """A bag -> one token for each learned query, by attention of one head on the instances.

    token = W_v (sum over instances of softmax(q . W_k x / sqrt(width)) x) + b.

    Source: Lee et al. 2019 (pooling by multi-head attention), without its feed-forward.

    Args:
        dim: width of an instance.
        width: of a token.
        queries: tokens.
        bias: of the values.
    """

    def __init__(self, dim: int, width: int, queries: int, *, bias: bool = True) -> None:
        super().__init__()
        self.queries = queries
        self.query = nn.Parameter(torch.randn(queries, width))
        self.key, self.value = nn.Linear(dim, width, bias=False), nn.Linear(dim, width, bias=bias)

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pool (case, instance, dim) under mask (case, instance).

        Returns:
            tokens (case, query, width), the bias alone where a case has no instance; weights (case, query, instance).
        """
        # Queries are few: no instance is ever made a key or a value. With instances as the left factor it is quicker.
        wanted = self.query @ self.key.weight / math.sqrt(self.query.shape[1])
        weights = masked_softmax(values @ wanted.T, mask.unsqueeze(-1), dim=1)
        seen = values.transpose(1, 2) @ weights
        return cast(Tensor, self.value(seen.transpose(1, 2))), weights.transpose(1, 2)
