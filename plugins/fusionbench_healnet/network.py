"""HEALNet as a torch module: a Batch in, logits and attention out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from fusionbench import Batch, ModalitySpec
from fusionbench.nn import scale_head, some_modality
from fusionbench_healnet.attention import Attention, Memory, Source, reciprocal_deviation
from fusionbench_healnet.blocks import FusionLayer
from fusionbench_healnet.tokens import Tokenizer, Tokens

if TYPE_CHECKING:
    from fusionbench_healnet.options import HealnetOptions


class HealNet(nn.Module):
    """Shared latents, updated by one modality after the other, layer by layer; then their mean to the outputs.

    A modality that a case does not have skips that case's whole step: cross-attention, feed-forward and
    self-attention. Nothing is imputed and nothing of the absent modality is computed.

    Source: Hemker et al. 2024, Algorithms 1 and 2.

    Args:
        specs: the modalities, in the order in which they update the latents.
        n_outputs: width of the output.
    """

    def __init__(self, specs: Iterable[ModalitySpec], n_outputs: int, options: HealnetOptions) -> None:
        super().__init__()
        specs = tuple(specs)
        self.names = tuple(spec.name for spec in specs)
        self.depth, self.heads, self.token_norm = options.layers, options.heads, options.token_norm
        self.latents = nn.Parameter(_initial_latents(options))
        tokenizers = [Tokenizer(spec, options) for spec in specs]
        self.tokenizers = nn.ModuleList(tokenizers)
        self.parts = {spec.name: t.parts for spec, t in zip(specs, tokenizers, strict=True) if t.parts}
        channels, counts = [t.dim for t in tokenizers], [t.count for t in tokenizers]
        sets = {"all": 1, "none": options.layers, "official-tied": min(2, options.layers)}[options.sharing]
        tied = options.sharing == "official-tied"
        self.layers = nn.ModuleList(
            FusionLayer(channels, counts, options, one_feed=tied and i > 0) for i in range(sets)
        )
        self.norm = nn.LayerNorm(options.latent_dim)
        self.head = nn.Linear(options.latent_dim, n_outputs)
        scale_head(self.head, options.head_scale)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case has no modality at all.
        """
        return cast(Tensor, self.head(self.norm(self.encode(batch).mean(dim=1))))

    def encode(self, batch: Batch) -> Tensor:
        """(case, latent, dim): the latents after the last layer."""
        return self._run(self._cases(batch), self._tokens(batch))

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """Where each modality is looked at: its weights averaged over latents.

        Returns:
            modality -> (case, layer, head, token), each row of a present modality sums to 1 over its real tokens and
            that of a missing one is all zeros.
        """
        tokens = self._tokens(batch)
        shape = self._cases(batch), self.depth, self.heads
        seen = [t.values.new_zeros(*shape, t.mask.shape[1]) for t in tokens]
        self._run(self._cases(batch), tokens, seen)
        return dict(zip(self.names, seen, strict=True))

    def _cases(self, batch: Batch) -> int:
        return len(batch.bags[self.names[0]].mask)  # the length of a tensor, which may vary where this is compiled

    def _tokens(self, batch: Batch) -> list[Tokens]:
        some_modality(batch, self.names)
        bags = [batch.bags[name] for name in self.names]
        return [tokenize(bag) for bag, tokenize in zip(bags, self.tokenizers, strict=True)]

    def _run(self, cases: int, tokens: list[Tokens], seen: list[Tensor] | None = None) -> Tensor:
        """The latents after the last layer; attention goes into `seen`, one (case, layer, head, token) a modality."""
        latents = self.latents.expand(cases, -1, -1)
        sources = [self._source(m, t.values) for m, t in enumerate(tokens)]
        previous: FusionLayer | None = None
        memory: list[Memory | Tensor] = []
        for i in range(self.depth):
            layer = self._layer(i)
            if layer is not previous:
                uses = sum(self._layer(j) is layer for j in range(i, self.depth))
                memory, previous = layer.remember(sources, latents=latents.shape[1], uses=uses), layer
            for m, t in enumerate(tokens):
                if len(t.rows) == 0:
                    continue
                complete = len(t.rows) == cases
                rows = latents if complete else latents[t.rows]
                if seen is not None:
                    seen[m][t.rows, i] = layer.weights(m, rows, memory[m], t.mask).mean(dim=2)
                rows = layer(m, rows, memory[m], t.mask)
                latents = rows if complete else latents.index_copy(0, t.rows, rows)
        return latents

    def _source(self, modality: int, values: Tensor) -> Source:
        normed = self.token_norm and isinstance(self._layer(0).cross[modality], Attention)
        rstd = reciprocal_deviation(values) if normed else None
        if torch.is_autocast_enabled(values.device.type):  # once, and not in every product of every layer
            values = values.to(torch.get_autocast_dtype(values.device.type))
        return Source(values, rstd)

    def _layer(self, i: int) -> FusionLayer:
        return cast(FusionLayer, self.layers[min(i, len(self.layers) - 1)])


def _initial_latents(options: HealnetOptions) -> Tensor:
    empty = torch.empty(options.latents, options.latent_dim)
    if options.latent_init == "uniform":
        return empty.uniform_(0.0, options.latent_std)
    return empty.normal_(0.0, options.latent_std)
