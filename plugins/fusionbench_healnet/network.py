"""HEALNet as a torch module: a Batch in, logits and attention out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from fusionbench import Batch, DataError, ModalitySpec
from fusionbench_healnet.blocks import FusionLayer, Memory
from fusionbench_healnet.tokens import Tokenizer, Tokens

if TYPE_CHECKING:
    from fusionbench_healnet.options import HealnetOptions


def norms_tokens(spec: ModalitySpec, options: HealnetOptions) -> bool:
    """Whether tokens of this modality pass a LayerNorm over their channels."""
    return options.token_norm == "all" or (options.token_norm == "bags" and spec.kind != "vector")


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
        self.depth = options.layers
        self.latents = nn.Parameter(_initial_latents(options))
        tokenizers = [Tokenizer(spec, options) for spec in specs]
        self.tokenizers = nn.ModuleList(tokenizers)
        channels, counts = [t.dim for t in tokenizers], [t.count for t in tokenizers]
        normed = [norms_tokens(spec, options) for spec in specs]
        sets = {"all": 1, "none": options.layers, "official-tied": min(2, options.layers)}[options.sharing]
        tied = options.sharing == "official-tied"
        self.layers = nn.ModuleList(
            FusionLayer(channels, counts, normed, options, one_feed=tied and i > 0) for i in range(sets)
        )
        self.norm = nn.LayerNorm(options.latent_dim)
        self.head = nn.Linear(options.latent_dim, n_outputs)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case has no modality at all.
        """
        return cast(Tensor, self.head(self.norm(self.encode(batch).mean(dim=1))))

    def encode(self, batch: Batch) -> Tensor:
        """(case, latent, dim): the latents after the last layer."""
        tokens = self._tokens(batch)
        latents = self.latents.expand(len(batch.ids), -1, -1)
        for latents, _, _ in self._steps(latents, tokens):
            pass
        return latents

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """Where each modality is looked at: its weights averaged over layers, heads and latents.

        Returns:
            modality -> (case, instance), each row of a present modality sums to 1 over its real instances and that of
            a missing one is all zeros; (case, token) for a vector that is cut into tokens.
        """
        tokens = self._tokens(batch)
        latents = self.latents.expand(len(batch.ids), -1, -1)
        total = [t.values.new_zeros(len(batch.ids), t.mask.shape[1]) for t in tokens]
        for _, modality, weights in self._steps(latents, tokens):
            total[modality].index_add_(0, tokens[modality].rows, weights.mean(dim=(1, 2)))
        tiny = torch.finfo(latents.dtype).tiny
        sums = (t / t.sum(dim=1, keepdim=True).clamp(min=tiny) for t in total)
        return dict(zip(self.names, sums, strict=True))

    def _tokens(self, batch: Batch) -> list[Tokens]:
        present = torch.stack([batch.bags[name].present for name in self.names]).any(dim=0)
        if not bool(present.all()):
            case = batch.ids[int((~present).nonzero()[0])]
            raise DataError(f"case {case!r} has none of {', '.join(self.names)}: leave it out, or give it one of them")
        return [tokenize(batch.bags[name]) for name, tokenize in zip(self.names, self.tokenizers, strict=True)]

    def _steps(self, latents: Tensor, tokens: list[Tokens]) -> Iterator[tuple[Tensor, int, Tensor]]:
        """After each step: all latents, the modality, and its weights (row, head, latent, token)."""
        previous: FusionLayer | None = None
        memory: list[Memory] = []
        for i in range(self.depth):
            layer = cast(FusionLayer, self.layers[min(i, len(self.layers) - 1)])
            if layer is not previous:
                memory = [f.remember(t.values) for f, t in zip(layer.cross, tokens, strict=True)]  # type: ignore[operator]
                previous = layer
            for modality, t in enumerate(tokens):
                if len(t.rows) == 0:
                    continue
                complete = len(t.rows) == len(latents)
                rows = latents if complete else latents[t.rows]
                rows, weights = layer(modality, rows, memory[modality], t.mask)
                latents = rows if complete else latents.index_copy(0, t.rows, rows)
                yield latents, modality, weights


def _initial_latents(options: HealnetOptions) -> Tensor:
    empty = torch.empty(options.latents, options.latent_dim)
    if options.latent_init == "uniform":
        return empty.uniform_(0.0, options.latent_std)
    return empty.normal_(0.0, options.latent_std)
