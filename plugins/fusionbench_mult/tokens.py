"""Each modality of a batch to a set of tokens of one width."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from fusionbench_healnet import Tokenizer
from torch import Tensor, nn

from fusionbench import Bag, ModalitySpec
from fusionbench.nn import QueryPool
from fusionbench_mult.options import SetOptions


@dataclass(frozen=True)
class Embedded:
    """Tokens of the cases that have a modality.

    Attributes:
        rows: (row,) int64, positions of those cases in the batch.
        values: (row, token, width).
        mask: (row, token) bool, True = real.
        pooled: (row, token, instance) weights of the instances in each token, or None where tokens are instances.
    """

    rows: Tensor
    values: Tensor
    mask: Tensor
    pooled: Tensor | None = None

    def spread(self, cases: int) -> Embedded:
        """All cases of the batch: zeros under a False mask where the modality is missing."""
        if len(self.rows) == cases:
            return self
        made = (
            x if x is None else x.new_zeros(cases, *x.shape[1:]).index_copy(0, self.rows, x)
            for x in (self.values, self.mask, self.pooled)
        )
        values, mask, pooled = made
        assert values is not None
        assert mask is not None
        return Embedded(torch.arange(cases, device=values.device), values, mask, pooled)

    def on_instances(self, weights: Tensor) -> Tensor:
        """Attention (row, ..., token) -> (row, ..., instance)."""
        return weights if self.pooled is None else torch.einsum("r...t,rti->r...i", weights, self.pooled)


class TokenEmbedder(nn.Module):
    """A modality's bag -> Embedded.

    Args:
        bias: of the projection to `width`.
        as_is: leave tokens unprojected that have the width already.

    Attributes:
        parts: of a vector that is cut, each token's name with its columns.
    """

    def __init__(
        self, spec: ModalitySpec, width: int, options: SetOptions, *, bias: bool = True, as_is: bool = False
    ) -> None:
        super().__init__()
        self.tokenize = Tokenizer(spec, options)
        self.parts, dim = self.tokenize.parts, self.tokenize.dim
        self.project: nn.Module
        if spec.kind != "vector" and options.bag_tokens:
            self.project = QueryPool(dim, width, options.bag_tokens, bias=bias)
        else:
            self.project = nn.Identity() if as_is and dim == width else nn.Linear(dim, width, bias=bias)

    def forward(self, bag: Bag) -> Embedded:
        tokens = self.tokenize(bag)
        if not isinstance(self.project, QueryPool):
            return Embedded(tokens.rows, self.project(tokens.values), tokens.mask)
        values, pooled = self.project(tokens.values, tokens.mask)
        mask = tokens.mask.any(dim=1, keepdim=True).expand(-1, values.shape[1])
        return Embedded(tokens.rows, values, mask, pooled)
