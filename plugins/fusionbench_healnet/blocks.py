"""The parts of a fusion layer: attention of the latents on tokens, gated feed-forward, and how weights are shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench.nn import masked_softmax

if TYPE_CHECKING:
    from fusionbench_healnet.options import HealnetOptions

_EXPANSION = 4  # width of the feed-forward's hidden layer over its input; Perceiver and HEALNet's repository

Memory = tuple[Tensor, ...]
"""What a block keeps of a modality's tokens for all layers that share its weights: keys and values."""


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
        self.norm_tokens = nn.LayerNorm(channels) if norm_tokens else nn.Identity()
        self.query = nn.Linear(dim, heads * head_dim, bias=False)
        self.key_value = nn.Linear(channels, 2 * heads * head_dim, bias=False)
        self.out = _Output(heads * head_dim, dim, options)
        self.dropout = nn.Dropout(options.attention_dropout)

    def remember(self, tokens: Tensor) -> Memory:
        """(case, token, channel) -> keys and values, each (case, head, token, head_dim)."""
        key, value = self.key_value(self.norm_tokens(tokens)).chunk(2, dim=-1)
        return _split_heads(key, self.heads), _split_heads(value, self.heads)

    def forward(self, latents: Tensor, memory: Memory, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The update (case, latent, dim) and the weights (case, head, latent, token) before dropout."""
        key, value = memory
        query = _split_heads(self.query(self.norm(latents)), self.heads)
        weights = masked_softmax(query @ key.transpose(-2, -1) * self.scale, mask[:, None, None, :])
        mixed = self.dropout(weights) @ value
        return cast(Tensor, self.out(mixed.transpose(1, 2).flatten(start_dim=2))), weights


class SingleTokenAttention(nn.Module):
    """What `Attention` computes where there is always one token: its weight is 1, so only the values matter.

    Attention dropout still drops the token for single heads and latents.
    """

    def __init__(
        self, dim: int, channels: int, heads: int, head_dim: int, options: HealnetOptions, norm_tokens: bool
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm_tokens = nn.LayerNorm(channels) if norm_tokens else nn.Identity()
        self.value = nn.Linear(channels, heads * head_dim, bias=False)
        self.out = _Output(heads * head_dim, dim, options)
        self.dropout = nn.Dropout(options.attention_dropout)

    def remember(self, tokens: Tensor) -> Memory:
        """(case, 1, channel) -> values (case, head, 1, head_dim)."""
        return (_split_heads(self.value(self.norm_tokens(tokens)), self.heads),)

    def forward(self, latents: Tensor, memory: Memory, mask: Tensor) -> tuple[Tensor, Tensor]:
        (value,) = memory
        weights = value.new_ones(len(value), self.heads, latents.shape[1], 1)
        mixed = self.dropout(weights) * value
        return cast(Tensor, self.out(mixed.transpose(1, 2).flatten(start_dim=2))), weights


def _split_heads(x: Tensor, heads: int) -> Tensor:
    """(case, n, head * head_dim) -> (case, head, n, head_dim)."""
    return x.view(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(1, 2)


class _Output(nn.Module):
    """The heads' outputs back to the latents' width, with the optional non-linearity of HEALNet's repository."""

    def __init__(self, inner: int, dim: int, options: HealnetOptions) -> None:
        super().__init__()
        self.linear = nn.Linear(inner, dim)
        self.leaky = options.attention_activation == "leaky_relu"

    def forward(self, x: Tensor) -> Tensor:
        x = cast(Tensor, self.linear(x))
        return F.leaky_relu(x, 0.01) if self.leaky else x


class FeedForward(nn.Module):
    """(u * act(g)) W2 + b2 with [u, g] = LayerNorm(x) W1 + b1, then dropout; no residual inside.

    Source: HEALNet's "SNN block" is this with act = SELU; GELU gives Shazeer 2020's GEGLU.
    """

    def __init__(self, dim: int, options: HealnetOptions) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 2 * _EXPANSION * dim)
        self.contract = nn.Linear(_EXPANSION * dim, dim)
        self.dropout = nn.Dropout(options.feedforward_dropout)
        self.activation = F.selu if options.activation == "selu" else F.gelu

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.expand(self.norm(x)).chunk(2, dim=-1)
        return cast(Tensor, self.dropout(self.contract(value * self.activation(gate))))


class SelfUpdate(nn.Module):
    """Self-attention of the latents and a feed-forward, each with its residual."""

    def __init__(self, options: HealnetOptions) -> None:
        super().__init__()
        dim = options.latent_dim
        heads, width = options.self_heads or options.heads, options.self_head_dim or options.head_dim
        self.attention = Attention(dim, dim, heads, width, options, norm_tokens=False)
        self.feed = FeedForward(dim, options)

    def forward(self, latents: Tensor) -> Tensor:
        tokens = self.attention.norm(latents)
        everywhere = torch.ones(latents.shape[:2], dtype=torch.bool, device=latents.device)
        latents = latents + self.attention(latents, self.attention.remember(tokens), everywhere)[0]
        return cast(Tensor, latents + self.feed(latents))


class FusionLayer(nn.Module):
    """One set of weights of a fusion layer: per modality cross-attention and feed-forward, perhaps self-attention.

    Args:
        channels: width of each modality's tokens.
        counts: tokens of every case per modality, None where it differs.
        one_feed: one feed-forward for all modalities instead of one each.
    """

    def __init__(
        self,
        channels: Sequence[int],
        counts: Sequence[int | None],
        options: HealnetOptions,
        one_feed: bool = False,
    ) -> None:
        super().__init__()
        o = options
        self.cross = nn.ModuleList(
            (SingleTokenAttention if count == 1 and not o.trivial_attention else Attention)(
                o.latent_dim, width, o.heads, o.head_dim, o, o.token_norm
            )
            for width, count in zip(channels, counts, strict=True)
        )
        self.feed = nn.ModuleList(FeedForward(o.latent_dim, o) for _ in range(1 if one_feed else len(channels)))
        self.own = SelfUpdate(o) if o.self_attention else None

    def remember(self, tokens: Sequence[Tensor]) -> list[Memory]:
        """What the cross-attentions keep of each modality's tokens."""
        return [cast(Memory, cross.remember(x)) for cross, x in zip(self.cross, tokens, strict=True)]  # type: ignore[operator]

    def forward(self, modality: int, latents: Tensor, memory: Memory, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Latents after the modality's whole step, and its attention weights."""
        change, weights = self.cross[modality](latents, memory, mask)
        latents = latents + change
        latents = latents + self.feed[modality % len(self.feed)](latents)
        return latents if self.own is None else self.own(latents), weights
