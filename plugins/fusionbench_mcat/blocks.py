"""The parts of MCAT: groups to tokens, co-attention, and what becomes of a set of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench.nn import GatedAttention, SNNBlock, fully_connected, masked_softmax
from fusionbench_mcat.groups import Group

if TYPE_CHECKING:
    from fusionbench_mcat.options import McatOptions


class GroupEncoder(nn.Module):
    """(case, feature) -> (case, token, width): each group's columns through SNN layers of their own.

    Torch's start, as published, though MCAT's uni-modal SNN starts as LeCun says.

    Args:
        widths: of the layers of every group.
        dropout, kind: after every layer.
    """

    def __init__(
        self, groups: Sequence[Group], widths: Sequence[int], *, dropout: float, kind: Literal["alpha", "plain"]
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(_layers((len(group.columns), *widths), dropout, kind) for group in groups)
        for i, group in enumerate(groups):
            self.register_buffer(f"columns_{i}", torch.tensor(group.columns), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        parts = (values[:, self.get_buffer(f"columns_{i}")] for i in range(len(self.networks)))
        return torch.stack([network(x) for network, x in zip(self.networks, parts, strict=True)], dim=1)


def _layers(widths: Sequence[int], rate: float, kind: Literal["alpha", "plain"]) -> nn.Sequential:
    steps = pairwise(widths)
    return nn.Sequential(*(SNNBlock(a, b, dropout=rate, dropout_kind=kind, init="torch") for a, b in steps))


class CoAttention(nn.Module):
    """Tokens look at the instances of a bag, with one head; no residual, norm or dropout.

    The attended of a token is W (sum over instances of softmax(q . k / sqrt(dim)) v) + b.

    Source: Chen et al. 2021 (MCAT), equation 2, with biases as in its repository, and its start (Xavier-uniform on the
    three projections as one matrix, zero biases).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, 3 * dim)  # rows: query of tokens, key and value of instances
        self.out = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        nn.init.zeros_(self.out.bias)

    def scores(self, tokens: Tensor, instances: Tensor) -> Tensor:
        """(case, token, dim) and (case, instance, dim) -> (case, token, instance), before the softmax."""
        query = self._project(tokens, 0)
        wanted = query @ self.project.weight.chunk(3)[1]  # tokens are few: no instance is ever made a key or a value
        shift = query @ self.project.bias.chunk(3)[1]
        return (wanted @ instances.transpose(1, 2) + shift.unsqueeze(-1)) / math.sqrt(tokens.shape[-1])

    def forward(self, tokens: Tensor, instances: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The attended (case, token, dim) and the weights (case, token, instance), zero where `mask` is False."""
        weights = masked_softmax(self.scores(tokens, instances), mask.unsqueeze(1))
        # the values' bias stands outside the sum, since weights sum to 1: `mask` has an instance of every case
        return self.out(self._project(weights @ instances, 2)), weights

    def _project(self, x: Tensor, which: int) -> Tensor:
        return F.linear(x, self.project.weight.chunk(3)[which], self.project.bias.chunk(3)[which])


class SetPool(nn.Module):
    """(case, token, width) -> (case, width): transformer layers without positions, gated attention, Linear, ReLU.

    Post-norm layers with ReLU and no norm after the last, as published.
    """

    def __init__(self, options: McatOptions) -> None:
        super().__init__()
        width, rate = options.width, options.dropout
        # Not batch_first: torch would take a fused kernel in evaluation that rounds otherwise than training does.
        layer = nn.TransformerEncoderLayer(width, options.heads, options.feedforward, dropout=rate, batch_first=False)
        self.transformer = nn.TransformerEncoder(layer, options.layers, enable_nested_tensor=False)
        self.pool = GatedAttention(width, width, dropout=rate)
        self.rho = fully_connected(width, width, rate)

    def mix(self, tokens: Tensor) -> Tensor:
        """(case, token, width), each token having seen the others."""
        mixed: Tensor = self.transformer(tokens.transpose(0, 1))
        return mixed.transpose(0, 1)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The set (case, width) and the pooling's weights (case, token)."""
        everywhere = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        pooled, weights = self.pool(self.mix(tokens), everywhere)
        return self.rho(pooled), weights
