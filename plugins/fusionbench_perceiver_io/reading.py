"""The one attention of the latents on all tokens, without ever writing the padded, normed tokens down.

A token is its channels x followed by numbers p that are learned for its modality, C in all. With the norm over these C
and its weights g and bias b, the score of a query q and a token is

    q W (g ([x, p] - mean) / deviation + b) = (x . u + p . u' - mean sum(u, u')) / deviation + a number of the query

where u, u' are the parts of g W^T q for x and p. The last number shifts all scores of a query alike, which the softmax
cancels. In the same way the sum of weighted values is made of the sum of weighted x. That is exact, and costs latent
rather than width multiplications for each channel of a token; queries are the same for all cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from fusionbench_healnet import Tokens
from torch import Tensor, nn

from fusionbench.nn import masked_softmax

_EPS = 1e-5  # LayerNorm's default


@dataclass(frozen=True)
class Statistics:
    """Of the padded tokens of one modality, over all their channels.

    Attributes:
        mean, rstd: (row, token, 1).
    """

    mean: Tensor
    rstd: Tensor


def statistics(values: Tensor, padding: Tensor) -> Statistics:
    """Mean and 1 / deviation of [values, padding]; values (row, token, channel), padding (channel',)."""
    few, more = values.shape[-1], len(padding)
    total = few + more
    own = values.mean(dim=-1, keepdim=True)
    other = padding.mean()
    mean = (few * own + more * other) / total
    # torch warns of the variance of nothing
    spread = values.var(dim=-1, keepdim=True, correction=0) if len(values) else own
    squares = few * spread + more * padding.var(correction=0)
    between = few * more / total * (own - other).square()
    return Statistics(mean, ((squares + between) / total + _EPS).rsqrt())


class Read(nn.Module):
    """Latents look at the tokens of all modalities in one softmax; heads, biases, no residual inside.

    Args:
        channels: of the tokens of each modality.
        width: of queries and keys.
        std: standard deviation of the start of what is learned for each modality.

    Source: Jaegle et al. 2022; a query that sees no token is given zeros, as in the published program.
    """

    def __init__(
        self, channels: Sequence[int], latent_dim: int, width: int, heads: int, *, least: int, std: float
    ) -> None:
        super().__init__()
        self.heads, self.channels = heads, max(channels) + least
        self.padding = nn.ParameterList(nn.Parameter(std * torch.randn(self.channels - c)) for c in channels)
        self.norm, self.norm_latents = nn.LayerNorm(self.channels, eps=_EPS), nn.LayerNorm(latent_dim)
        # A key's bias, and the norm's bias in a key, add one number to all scores of a query.
        self.query, self.key = nn.Linear(latent_dim, width), nn.Linear(self.channels, width, bias=False)
        self.value, self.out = nn.Linear(self.channels, latent_dim), nn.Linear(latent_dim, latent_dim)

    def forward(self, latents: Tensor, tokens: Sequence[Tokens], cases: int) -> tuple[Tensor, list[Tensor]]:
        """(latent, dim) and the tokens of each modality.

        Returns:
            (case, latent, dim), and of each modality the weights (row, head * latent, token).
        """
        wanted, count = self._wanted(latents), len(latents)
        measured = [statistics(t.values, p) for t, p in zip(tokens, self.padding, strict=True)]
        scores = [self._scores(m, t, s, wanted) for m, (t, s) in enumerate(zip(tokens, measured, strict=True))]
        weights = _softmax_over_all(scores, tokens, cases)
        seen, total = wanted.new_zeros(cases, len(wanted), self.channels), wanted.new_zeros(cases, len(wanted), 1)
        for m, (t, s, w) in enumerate(zip(tokens, measured, weights, strict=True)):
            part, share = self._seen(m, t, s, w)
            seen, total = seen.index_add(0, t.rows, part), total.index_add(0, t.rows, share)
        return self._out(seen, total, count), [w.transpose(1, 2) for w in weights]

    def _wanted(self, latents: Tensor) -> Tensor:
        """(head * latent, channel): each head's query times the key projection and the norm's weight."""
        query = self.query(self.norm_latents(latents)).unflatten(-1, (self.heads, -1))
        key = self.key.weight.unflatten(0, (self.heads, -1)) / math.sqrt(query.shape[-1])
        return torch.einsum("lhw,hwc->hlc", query, key).flatten(0, 1) * self.norm.weight

    def _scores(self, m: int, tokens: Tokens, measured: Statistics, wanted: Tensor) -> Tensor:
        """(row, token, head * latent)."""
        own, learned = wanted.split([tokens.values.shape[-1], len(self.padding[m])], dim=-1)
        whole = tokens.values @ own.T + learned @ self.padding[m]
        return (whole - measured.mean * wanted.sum(dim=-1)) * measured.rstd

    def _seen(self, m: int, tokens: Tokens, measured: Statistics, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted sum of centred, scaled tokens (row, head * latent, channel), and of the weights (..., 1)."""
        scaled = weights * measured.rstd
        own = (tokens.values.transpose(1, 2) @ scaled).transpose(1, 2)
        learned = scaled.sum(dim=1).unsqueeze(-1) * self.padding[m]
        shift = (scaled * measured.mean).sum(dim=1).unsqueeze(-1)
        return torch.cat([own, learned], dim=-1) - shift, weights.sum(dim=1).unsqueeze(-1)

    def _out(self, seen: Tensor, total: Tensor, count: int) -> Tensor:
        normed = (seen * self.norm.weight + total * self.norm.bias).unflatten(1, (self.heads, count))
        value = self.value.weight.unflatten(0, (self.heads, -1))
        bias = total.unflatten(1, (self.heads, count)) * self.value.bias.view(self.heads, 1, -1)
        mixed = torch.einsum("nhlc,hdc->nhld", normed, value) + bias
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(start_dim=2))
        return out * (total > 0).unflatten(1, (self.heads, count)).any(dim=1)


def _softmax_over_all(scores: Sequence[Tensor], tokens: Sequence[Tokens], cases: int) -> list[Tensor]:
    """One softmax over the tokens of all modalities of a case: (row, token, query) each."""
    if all(len(t.rows) == cases for t in tokens):
        together, mask = torch.cat(list(scores), dim=1), torch.cat([t.mask for t in tokens], dim=1)
        weights = masked_softmax(together, mask.unsqueeze(-1), dim=1)
        return list(weights.split([s.shape[1] for s in scores], dim=1))
    spread = [_spread(s, t.rows, cases) for s, t in zip(scores, tokens, strict=True)]
    masks = [_spread(t.mask, t.rows, cases) for t in tokens]
    weights = masked_softmax(torch.cat(spread, dim=1), torch.cat(masks, dim=1).unsqueeze(-1), dim=1)
    parts = weights.split([s.shape[1] for s in scores], dim=1)
    return [part[t.rows] for part, t in zip(parts, tokens, strict=True)]


def _spread(x: Tensor, rows: Tensor, cases: int) -> Tensor:
    """(row, ...) -> (case, ...), zeros in the other cases."""
    return x.new_zeros(cases, *x.shape[1:]).index_copy(0, rows, x)


def share_of_tokens(weights: Tensor, latents: int) -> Tensor:
    """(row, head * latent, token) -> (row, head, token): the mean over latents, scaled to sum to 1 over the tokens."""
    mean = weights.unflatten(1, (-1, latents)).mean(dim=2)
    return mean / mean.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(mean.dtype).tiny)
