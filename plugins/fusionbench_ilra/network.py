"""ILRA as a torch module: a Batch in, logits out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from fusionbench_unimodal import BagNetwork
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench import Batch, ModalitySpec
from fusionbench.nn import Dropout, masked_softmax
from fusionbench_ilra.options import IlraOptions


class Attention(nn.Module):
    """Multi-head attention with maps of its own on queries, keys and values of one width.

    Source: Vaswani et al. 2017; the three maps are one tensor, as torch and the published program start them.
    """

    def __init__(self, options: IlraOptions) -> None:
        super().__init__()
        width, self.heads = options.width, options.heads
        self.project = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.bias, self.out = nn.Parameter(torch.zeros(3 * width)), nn.Linear(width, width)
        nn.init.zeros_(self.out.bias)  # as torch and the published program start it

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """(case, token, width) reads (case, source, width), where mask (case, source) is True."""
        q, k, v = self._split(query, key, value)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None, None])
        return cast(Tensor, self.out(seen.transpose(1, 2).flatten(start_dim=2)))

    def weights(self, query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
        """(case, head, token, source) that `forward` reads by."""
        q, k, _ = self._split(query, key, key)
        return masked_softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[3]), mask[:, None, None])

    def _split(self, *tokens: Tensor) -> list[Tensor]:
        """Each projected, (case, head, token, width of a head)."""
        maps = zip(tokens, self.project.chunk(3), self.bias.chunk(3), strict=True)
        return [F.linear(x, w, b).unflatten(2, (self.heads, -1)).transpose(1, 2) for x, w, b in maps]


class Block(nn.Module):
    """Tokens read sources: o = q + attention(q, k, v), o = o + ReLU(W o + b), and a gate of what came in.

    Source: Xiang and Zhang 2023, after Lee et al. 2019 (MAB). A LayerNorm follows each of both sums where the options
    say so.
    """

    def __init__(self, dim: int, source_dim: int, options: IlraOptions, *, gated: bool) -> None:
        super().__init__()
        width = options.width
        self.query, self.key, self.value = (nn.Linear(d, width) for d in (dim, source_dim, source_dim))
        self.attend, self.feed = Attention(options), nn.Linear(width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) if options.norm else nn.Identity() for _ in range(2))
        self.gate = nn.Linear(dim, width) if gated else None

    def forward(self, x: Tensor, source: Tensor, mask: Tensor | None = None) -> Tensor:
        """(case, token, dim) and (case, source, source_dim) -> (case, token, width)."""
        query = self.query(x)
        o = self.norms[0](query + self.attend(query, self.key(source), self.value(source), mask))
        o = self.norms[1](o + self.feed(o).relu())
        return cast(Tensor, o if self.gate is None else o * F.silu(self.gate(x)))

    def weights(self, x: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """(case, head, token, source) of the attention."""
        return self.attend.weights(self.query(x), self.key(source), mask)


class Layer(nn.Module):
    """Latent tokens read the instances, then each instance reads the latents; there is no sum around a layer."""

    def __init__(self, dim: int, options: IlraOptions) -> None:
        super().__init__()
        self.latent = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, options.rank, options.width)))
        self.collect = Block(options.width, dim, options, gated=True)
        self.spread = Block(dim, options.width, options, gated=True)

    def collected(self, x: Tensor, mask: Tensor) -> Tensor:
        """(case, rank, width) latents that have read (case, instance, dim)."""
        return cast(Tensor, self.collect(self.latent.expand(len(x), -1, -1), x, mask))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(case, instance, dim) -> (case, instance, width)."""
        return cast(Tensor, self.spread(x, self.collected(x, mask)))


class IlraNetwork(BagNetwork):
    """Layers over the instances, and a learned token that reads them last and goes to the head, or through fusion."""

    who = "ilra"

    def __init__(self, specs: Sequence[ModalitySpec], n_outputs: int, options: IlraOptions) -> None:
        super().__init__(specs)
        o = options
        self.layers = nn.ModuleList(Layer(o.width if i else self.bag.dim, o) for i in range(o.layers))
        self.token = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, 1, o.width)))
        self.pool, self.drop = Block(o.width, o.width, o, gated=False), Dropout(o.pool_dropout)
        self.read_out(n_outputs, o, rho=o.fusion != "none")
        own = [self.layers, self.pool, *([self.head] if o.fusion == "none" else [])]
        for part in (part for block in own for part in block.modules()) if o.start == "xavier" else ():
            if isinstance(part, nn.Linear):
                nn.init.xavier_normal_(part.weight)

    def instances(self, batch: Batch) -> Tensor:
        """(case, instance, width) behind the last layer."""
        bag = self.complete_bag(batch)
        x = bag.values
        for layer in self.layers:
            x = layer(x, bag.mask)
        return x

    def pooled(self, batch: Batch) -> Tensor:
        x = self.instances(batch)
        return cast(Tensor, self.drop(self.pool(self.token.expand(len(x), -1, -1), x, self._mask(batch))[:, 0]))

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """(case, 1, head, instance) weights of the pooling, each row summing to 1 over the real instances."""
        x = self.instances(batch)
        weights = self.pool.weights(self.token.expand(len(x), -1, -1), x, self._mask(batch))
        return {self.bag.name: weights.transpose(1, 2)}

    def _mask(self, batch: Batch) -> Tensor:
        return batch.bags[self.bag.name].mask
