"""The transformers of MulT: one modality read into another, and what a modality then makes of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fusionbench.nn import Dropout
from fusionbench_mult.attention import MultiHeadAttention
from fusionbench_mult.options import MultOptions


def sinusoids(number: Tensor, width: int) -> Tensor:
    """(...,) numbers of tokens, from 1; 0 = none -> (..., width): all sines, then all cosines; zeros for number 0.

    The frequencies are 10000 to the power of -j / (width // 2 - 1); an odd width ends with a column of zeros.

    Source: the published program, after Vaswani et al. 2017.
    """
    half = width // 2
    exponent = torch.arange(half, dtype=number.dtype, device=number.device) / (half - 1)
    angle = number.unsqueeze(-1) * torch.exp(-math.log(10000.0) * exponent)
    waves = torch.cat([angle.sin(), angle.cos()], dim=-1).masked_fill(number.unsqueeze(-1) == 0, 0.0)
    return nn.functional.pad(waves, (0, width - 2 * half))


def numbered(tokens: Tensor, mask: Tensor, zero_is_padding: bool) -> Tensor:
    """(case, token): 1, 2, ... for the real tokens in their order, 0 for the others."""
    number = mask.cumsum(dim=1)
    real = mask & (tokens[..., 0] != 0) if zero_is_padding else mask
    return number.masked_fill(~real, 0).to(tokens.dtype)


def future_hidden(target: Tensor, source: Tensor) -> Tensor:
    """(case, token) and (case, source) masks -> (case, token, source) bool: which source tokens a token may see.

    Those up to its own number and the difference of both lengths.
    """
    further = (target.sum(dim=1) - source.sum(dim=1)).abs()[:, None, None]
    at, of = (torch.arange(mask.shape[1], device=mask.device) for mask in (target, source))
    return of[None, None, :] <= at[None, :, None] + further


class Layer(nn.Module):
    """Attention on the source and a feed-forward, each after a norm and with a residual.

    One norm serves the tokens and the source, as published.
    """

    def __init__(self, width: int, options: MultOptions) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attend = MultiHeadAttention(width, options.heads, dropout=options.attention_dropout)
        self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = Dropout(options.dropout)
        for linear in (self.expand, self.contract):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, tokens: Tensor, source: Tensor | None, seen: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens and the weights (case, head, token, source); without a source they look at one another."""
        own = self.norms[0](tokens)
        other = own if source is None else self.norms[0](source)
        looked, weights = self.attend(own, other, other, seen)
        tokens = tokens + self.dropout(looked)
        inner = self.dropout(self.expand(self.norms[1](tokens)).relu())
        return tokens + self.dropout(self.contract(inner)), weights


class Transformer(nn.Module):
    """Layers of tokens that look at a source, which stays as it enters, or at one another; then a norm."""

    def __init__(self, width: int, layers: int, options: MultOptions) -> None:
        super().__init__()
        self.options, self.width = options, width
        self.layers = nn.ModuleList(Layer(width, options) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(options.embedding_dropout)

    def forward(
        self, tokens: Tensor, mask: Tensor, source: Tensor | None = None, source_mask: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """(case, token, width), and the weights (case, head, token, source) of each layer.

        Args:
            mask, source_mask: (case, token) and (case, source) bool, True = real.
        """
        read = mask if source_mask is None else source_mask
        seen = read.unsqueeze(1)
        if self.options.causal:
            seen = seen & future_hidden(mask, read)
        x, looked = self._embedded(tokens, mask), []
        other = None if source is None else self._embedded(source, read)
        for layer in self.layers:
            x, weights = layer(x, other, seen)
            looked.append(weights)
        return self.norm(x), looked

    def _embedded(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = math.sqrt(self.width) * tokens
        if self.options.order:
            x = x + sinusoids(numbered(tokens, mask, self.options.zero_is_padding), self.width)
        dropped: Tensor = self.dropout(x)
        return dropped
