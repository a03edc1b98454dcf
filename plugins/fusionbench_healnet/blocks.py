"""The parts of a fusion layer: gated feed-forward, self-attention, and how weights are shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench.nn import Dropout
from fusionbench_healnet.attention import Attention, Memory, SingleTokenAttention, Source

if TYPE_CHECKING:
    from fusionbench_healnet.options import HealnetOptions

_EXPANSION = 4  # width of the feed-forward's hidden layer over its input; Perceiver and HEALNet's repository


class FeedForward(nn.Module):
    """(u * act(g)) W2 + b2 with [u, g] = LayerNorm(x) W1 + b1, then dropout; no residual inside.

    Source: HEALNet's "SNN block" is this with act = SELU; GELU gives Shazeer 2020's GEGLU.
    """

    def __init__(self, dim: int, options: HealnetOptions) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 2 * _EXPANSION * dim)
        self.contract = nn.Linear(_EXPANSION * dim, dim)
        self.dropout = Dropout(options.feedforward_dropout)
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
        memory = self.attention.remember(Source(tokens), latents=latents.shape[1], uses=1)
        latents = latents + self.attention(latents, memory, everywhere)
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

    def remember(self, sources: Sequence[Source], *, latents: int, uses: int) -> list[Memory | Tensor]:
        """What the cross-attentions keep of each modality's tokens for `uses` layers that look at them."""
        pairs = zip(self.cross, sources, strict=True)
        return [cross.remember(source, latents=latents, uses=uses) for cross, source in pairs]  # type: ignore[operator]

    def weights(self, modality: int, latents: Tensor, memory: Memory | Tensor, mask: Tensor) -> Tensor:
        """(case, head, latent, token): where the latents look in the modality's step."""
        return cast(Tensor, self.cross[modality].weights(latents, memory, mask))  # type: ignore[operator]

    def forward(self, modality: int, latents: Tensor, memory: Memory | Tensor, mask: Tensor) -> Tensor:
        """Latents after the modality's whole step."""
        latents = latents + self.cross[modality](latents, memory, mask)
        latents = latents + self.feed[modality % len(self.feed)](latents)
        return latents if self.own is None else cast(Tensor, self.own(latents))
