"""Perceiver IO as a torch module: a Batch in, logits and attention out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from fusionbench_healnet import Tokenizer, Tokens
from fusionbench_mult import MultiHeadAttention
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench import Batch, ModalitySpec
from fusionbench.nn import Dropout, scale_head, some_modality
from fusionbench_perceiver_io.options import PerceiverIoOptions
from fusionbench_perceiver_io.reading import Read, share_of_tokens

_STD = 0.02  # of the latents and the query at the start, as published


class FeedForward(nn.Module):
    """Linear, GELU, Linear, on the normed input; no residual inside."""

    def __init__(self, options: PerceiverIoOptions) -> None:
        super().__init__()
        width, inner = options.latent_dim, options.expansion * options.latent_dim
        self.norm = nn.LayerNorm(width)
        self.expand, self.contract = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.contract(F.gelu(self.expand(self.norm(x)))))


class SelfLayer(nn.Module):
    """Latents look at one another, then a feed-forward; norms before, residuals around both."""

    def __init__(self, options: PerceiverIoOptions) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(options.latent_dim)
        self.attend = MultiHeadAttention(options.latent_dim, options.self_heads)
        self.feed, self.dropout = FeedForward(options), Dropout(options.dropout)

    def forward(self, latents: Tensor) -> Tensor:
        normed, all_seen = self.norm(latents), torch.ones(1, 1, 1, dtype=torch.bool, device=latents.device)
        latents = latents + self.dropout(self.attend(normed, normed, normed, all_seen)[0])
        return cast(Tensor, latents + self.dropout(self.feed(latents)))


class Decoder(nn.Module):
    """A learned query looks at the latents, with one head: (case, latent, dim) -> (case, dim)."""

    def __init__(self, options: PerceiverIoOptions) -> None:
        super().__init__()
        width = options.latent_dim
        self.query = nn.Parameter(_STD * torch.randn(1, width))
        self.norm_query, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.feed = MultiHeadAttention(width, 1), FeedForward(options)
        self.residual, self.dropout = options.query_residual, Dropout(options.dropout)

    def forward(self, latents: Tensor) -> Tensor:
        query = self.query.expand(len(latents), 1, -1)
        key, all_seen = self.norm(latents), torch.ones(1, 1, 1, dtype=torch.bool, device=latents.device)
        x = self.dropout(self.attend(self.norm_query(query), key, key, all_seen)[0])
        x = x + query if self.residual else x
        return cast(Tensor, x + self.dropout(self.feed(x)))[:, 0]


class PerceiverIoNetwork(nn.Module):
    """Latents read the tokens of all modalities once, then look at one another; a query reads the latents.

    Source: Jaegle et al. 2022, with one output query.
    """

    def __init__(self, specs: Iterable[ModalitySpec], n_outputs: int, options: PerceiverIoOptions) -> None:
        super().__init__()
        o, specs = options, tuple(specs)
        self.options, self.names = o, tuple(spec.name for spec in specs)
        tokenizers = [Tokenizer(spec, o) for spec in specs]
        self.tokenizers = nn.ModuleList(tokenizers)
        self.parts = {name: t.parts for name, t in zip(self.names, tokenizers, strict=True) if t.parts}
        self.latents = nn.Parameter(_STD * torch.randn(o.latents, o.latent_dim))
        widths = [t.dim for t in tokenizers]
        self.read = Read(widths, o.latent_dim, o.read_width, o.read_heads, least=o.modality_dim, std=o.modality_std)
        self.feed, self.dropout = FeedForward(o), Dropout(o.dropout)
        self.layers = nn.ModuleList(SelfLayer(o) for _ in range(o.self_layers))
        self.decode = Decoder(o) if o.decoder == "query" else None
        self.head = nn.Linear(o.latent_dim, n_outputs)
        scale_head(self.head, o.head_scale)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case has no modality at all.
        """
        latents, _ = self.encode(batch)
        for _ in range(self.options.blocks):
            for layer in self.layers:
                latents = layer(latents)
        return cast(Tensor, self.head(latents.mean(dim=1) if self.decode is None else self.decode(latents)))

    def encode(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """(case, latent, dim) after the reading, and the weights (row, head * latent, token) of each modality."""
        tokens = self._tokens(batch)
        cases = len(batch.bags[self.names[0]].mask)
        seen, weights = self.read(self.latents, tokens, cases)
        latents = self.latents + self.dropout(seen)
        return latents + self.dropout(self.feed(latents)), weights

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """Where the latents look, modality by modality.

        Returns:
            modality -> (case, 1, head, item), the mean over latents; what a modality gets in all is not in it, as each
            row of a modality that the case has sums to 1.
        """
        cases, found = len(batch.bags[self.names[0]].mask), {}
        rows = [bag.rows for bag in (batch.bags[name] for name in self.names)]
        for name, own, weights in zip(self.names, rows, self.encode(batch)[1], strict=True):
            share = share_of_tokens(weights, self.options.latents).unsqueeze(1)
            found[name] = share.new_zeros(cases, *share.shape[1:]).index_copy(0, own.to(share.device), share)
        return found

    def _tokens(self, batch: Batch) -> list[Tokens]:
        some_modality(batch, self.names)
        bags = [batch.bags[name] for name in self.names]
        return [tokenize(bag) for tokenize, bag in zip(self.tokenizers, bags, strict=True)]
