"""Attention of the latents on a modality's tokens, computed in whichever order costs less.

Nearly all of HEALNet's cost is the key and value projection of a bag: token x channel x (2 head x head_dim). Two exact
rearrangements avoid most of it.

- LayerNorm subtracts a token's mean over its channels, divides by its deviation, and weights the channels. The first is
  a projection that may be applied to the other side of every product, (x - mean) . q = x . (q - mean of q), as may the
  weights; so only the deviation of each token is computed, once for all layers. Normed tokens are never written and no
  gradient of them is needed. The norm's bias shifts all scores of a latent alike, which the softmax cancels.
- scores = q (W x)^T = (q W) x^T, and sum_t w_t (W x_t) = W (sum_t w_t x_t): with the query multiplied into the key
  projection first, keys and values of the tokens are never made. That costs latent x head instead of head x head_dim
  for each token and channel, and is paid by every layer, where projected keys and values serve all layers that share
  their weights. `contracting_is_cheaper` chooses from the shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench.nn import Dropout, dropout, masked_softmax

if TYPE_CHECKING:
    from fusionbench_healnet.options import HealnetOptions


_EPS = 1e-5  # LayerNorm's default
_PIECE = 512
"""Tokens whose deviations are taken at a time."""


@dataclass(frozen=True)
class Source:
    """What attention looks at.

    Attributes:
        values: (case, token, channel).
        rstd: (case, token, 1), for an attention that norms its tokens; otherwise None.
    """

    values: Tensor
    rstd: Tensor | None = None


def reciprocal_deviation(values: Tensor) -> Tensor:
    """1 / sqrt(variance over channels + eps) of (case, token, channel), as LayerNorm takes it: (case, token, 1)."""
    if values.requires_grad or values.device.type != "cpu" or torch.compiler.is_compiling():
        return (values.var(dim=-1, keepdim=True, correction=0) + _EPS).rsqrt()
    rstd = values.new_empty(*values.shape[:2], 1)
    # what takes a CPU a third of the time: in pieces, so that the normed values, which nobody needs, are small and
    # always the same memory
    for piece, into in zip(values.flatten(0, 1).split(_PIECE), rstd.flatten(0, 1).split(_PIECE), strict=True):
        into.copy_(torch.native_layer_norm(piece, piece.shape[-1:], None, None, _EPS)[2])
    return rstd


def _centred(x: Tensor) -> Tensor:
    """Without its mean over channels, the last axis."""
    return x - x.mean(dim=-1, keepdim=True)


class Memory(Protocol):
    """What a block keeps of a modality's tokens for all layers that share its weights."""

    def look(self, query: Tensor, mask: Tensor, rate: float, scale: float) -> Tensor:
        """(case, head, latent, head_dim): the values that each latent sees, under mask (case, token)."""

    def weights(self, query: Tensor, mask: Tensor, scale: float) -> Tensor:
        """(case, head, latent, token) attention weights before dropout."""


@dataclass(frozen=True)
class Projected:
    """Keys and values, each (case, head, token, head_dim)."""

    key: Tensor
    value: Tensor

    def look(self, query: Tensor, mask: Tensor, rate: float, scale: float) -> Tensor:
        # The softmax over one token is 1 and its gradient 0; of a fused kernel's, which is a rounding error, Adam would
        # make steps as large as any. torch has no fused kernel with dropout on the CPU; and that of a GPU for float32
        # takes most of a step, where the products of a few latents take little.
        fused = rate == 0 if query.device.type == "cpu" else query.dtype.itemsize == 2
        if self.key.shape[2] == 1 or not fused:
            return dropout(self.weights(query, mask, scale), rate) @ self.value
        return F.scaled_dot_product_attention(
            query, self.key, self.value, mask[:, None, None, :], dropout_p=rate, scale=scale
        )

    def weights(self, query: Tensor, mask: Tensor, scale: float) -> Tensor:
        return masked_softmax(query * scale @ self.key.transpose(-2, -1), mask[:, None, None, :])


@dataclass(frozen=True)
class Contracted:
    """The tokens as they are, and the projections to be multiplied into queries and into what is seen.

    Attributes:
        key, value: (head, head_dim, channel).
        norm: of the tokens, or None.
    """

    source: Source
    key: Tensor
    value: Tensor
    norm: nn.LayerNorm | None

    def look(self, query: Tensor, mask: Tensor, rate: float, scale: float) -> Tensor:
        kept = dropout(self._by_token(query, mask, scale), rate)
        seen = self._seen(kept).unflatten(1, query.shape[1:3])
        return torch.einsum("nhlc,hdc->nhld", seen, self.value)

    def weights(self, query: Tensor, mask: Tensor, scale: float) -> Tensor:
        return self._by_token(query, mask, scale).transpose(1, 2).unflatten(1, query.shape[1:3])

    def _by_token(self, query: Tensor, mask: Tensor, scale: float) -> Tensor:
        """(case, token, head * latent) weights. In this layout the tokens are the left factor of all four products,
        forward and backward, which takes a CPU two thirds of the time of the other way round."""
        query = query * scale
        wanted = torch.einsum("nhld,hdc->nhlc", query, self.key)
        if self.norm is not None:  # centred; the mean over channels is that of the key's, seen by the query
            mean = self.key @ self.norm.weight / len(self.norm.weight)
            wanted = torch.addcmul(-torch.einsum("nhld,hd->nhl", query, mean).unsqueeze(-1), wanted, self.norm.weight)
        wanted = wanted.flatten(1, 2)
        scores = _product(self.source.values, wanted.transpose(1, 2))
        if self.source.rstd is not None:
            scores = scores * self.source.rstd
        return masked_softmax(scores, mask.unsqueeze(-1), dim=1)

    def _seen(self, weights: Tensor) -> Tensor:
        """(case, token, head * latent) -> (case, head * latent, channel): the weighted sum of the normed tokens."""
        scaled = weights if self.source.rstd is None else weights * self.source.rstd
        total = _product(self.source.values.transpose(1, 2), scaled).transpose(1, 2)
        if self.norm is None:
            return total
        return _centred(total) * self.norm.weight + weights.sum(dim=1).unsqueeze(-1) * self.norm.bias


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b, both (case, ...); a single case goes without the overhead of a batch of products."""
    return (a[0] @ b[0]).unsqueeze(0) if len(a) == 1 else a @ b


class Attention(nn.Module):
    """Multi-head attention of latents (query) on tokens (key, value), both normed before; no residual inside.

    weights = softmax(q k^T / (temperature sqrt(head_dim))) over real tokens; q, k, v without biases.

    Source: Vaswani et al. 2017; norms before the projections as in Jaegle et al. 2021.

    Args:
        dim: width of a latent.
        channels: width of a token.
        norm_tokens: LayerNorm over each token's channels.
    """

    def __init__(
        self, dim: int, channels: int, heads: int, head_dim: int, options: HealnetOptions, norm_tokens: bool
    ) -> None:
        super().__init__()
        self.heads, self.scale = heads, 1.0 / (options.temperature * head_dim**0.5)
        self.norm = nn.LayerNorm(dim)
        self.norm_tokens = nn.LayerNorm(channels, eps=_EPS) if norm_tokens else nn.Identity()
        self.query = nn.Linear(dim, heads * head_dim, bias=False)
        self.key_value = nn.Linear(channels, 2 * heads * head_dim, bias=False)
        self.out = Output(heads * head_dim, dim, options)
        self.dropout = options.attention_dropout

    def remember(self, source: Source, *, latents: int, uses: int) -> Memory:
        """What `uses` layers of `latents` latents each will look at."""
        values, projection = source.values, self.key_value.weight
        norm = self.norm_tokens if isinstance(self.norm_tokens, nn.LayerNorm) else None
        shape = Shape(values.shape[1], values.shape[2], latents, self.heads, len(projection) // (2 * self.heads))
        if contracting_is_cheaper(shape, uses, learned_tokens=values.requires_grad):
            key, value = projection.unflatten(0, (2, self.heads, -1))
            return Contracted(source, key, value, norm)
        if norm is None:
            both = F.linear(values, projection)
            return Projected(*(split_heads(x, self.heads) for x in both.chunk(2, dim=-1)))
        both = F.linear(values, _centred(projection * norm.weight)).mul_(source.rstd)
        shift = projection @ norm.bias
        both = both.add_(torch.cat([torch.zeros_like(shift[: len(shift) // 2]), shift[len(shift) // 2 :]]))
        return Projected(*(split_heads(x, self.heads) for x in both.chunk(2, dim=-1)))

    def forward(self, latents: Tensor, memory: Memory, mask: Tensor) -> Tensor:
        """The update (case, latent, dim)."""
        rate = self.dropout if self.training else 0.0
        seen = memory.look(self._query(latents), mask, rate, self.scale)
        return cast(Tensor, self.out(seen.transpose(1, 2).flatten(start_dim=2)))

    def weights(self, latents: Tensor, memory: Memory, mask: Tensor) -> Tensor:
        """(case, head, latent, token): where each latent looks, before dropout."""
        return memory.weights(self._query(latents), mask, self.scale)

    def _query(self, latents: Tensor) -> Tensor:
        return split_heads(self.query(self.norm(latents)), self.heads)


class SingleTokenAttention(nn.Module):
    """What `Attention` computes where there is always one token: its weight is 1, so only the values matter.

    Attention dropout still drops the token for single heads and latents.
    """

    def __init__(
        self, dim: int, channels: int, heads: int, head_dim: int, options: HealnetOptions, norm_tokens: bool
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm_tokens = nn.LayerNorm(channels, eps=_EPS) if norm_tokens else nn.Identity()
        self.value = nn.Linear(channels, heads * head_dim, bias=False)
        self.out = Output(heads * head_dim, dim, options)
        self.dropout = Dropout(options.attention_dropout)

    def remember(self, source: Source, *, latents: int, uses: int) -> Tensor:
        """Values (case, head, 1, head_dim)."""
        return split_heads(self.value(self.norm_tokens(source.values)), self.heads)

    def forward(self, latents: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """The update (case, latent, dim)."""
        mixed = self.dropout(self.weights(latents, memory, mask)) * memory
        return cast(Tensor, self.out(mixed.transpose(1, 2).flatten(start_dim=2)))

    def weights(self, latents: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """(case, head, latent, 1), all ones."""
        return memory.new_ones(len(memory), self.heads, latents.shape[1], 1)


@dataclass(frozen=True)
class Shape:
    tokens: int
    channels: int
    latents: int
    heads: int
    head_dim: int


def contracting_is_cheaper(shape: Shape, uses: int, *, learned_tokens: bool) -> bool:
    """Whether `uses` looks cost fewer multiplications a case without keys and values than with them.

    Counted are forward and backward; a gradient of the tokens is counted where they are learned.
    """
    s, back = shape, 2 if learned_tokens else 1
    rows, inner = s.latents * s.heads, s.heads * s.head_dim
    projected = 2 * inner * s.tokens * s.channels * (1 + back) + uses * 6 * rows * s.head_dim * s.tokens
    contracted = uses * 2 * rows * s.channels * (s.tokens * (1 + back) + 3 * s.head_dim)
    return contracted < projected


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(case, n, head * head_dim) -> (case, head, n, head_dim)."""
    return x.view(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(1, 2)


class Output(nn.Module):
    """The heads' outputs back to the latents' width, with the optional non-linearity of HEALNet's repository."""

    def __init__(self, inner: int, dim: int, options: HealnetOptions) -> None:
        super().__init__()
        self.linear = nn.Linear(inner, dim)
        self.leaky = options.attention_activation == "leaky_relu"

    def forward(self, x: Tensor) -> Tensor:
        x = cast(Tensor, self.linear(x))
        return F.leaky_relu(x, 0.01) if self.leaky else x
