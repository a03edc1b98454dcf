"""MulT as a torch module: a Batch in, logits and attention out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from fusionbench import Batch, ModalitySpec
from fusionbench.nn import Dropout, scale_head, some_modality
from fusionbench_mult.blocks import Transformer
from fusionbench_mult.options import MultOptions
from fusionbench_mult.tokens import Embedded, TokenEmbedder


class Read(NamedTuple):
    """What a target has read of one source.

    Attributes:
        tokens: (case, token, width), zeros where the case lacks the target.
        looked: weights (case, head, token, source) of each layer.
    """

    tokens: Tensor
    looked: list[Tensor]


class MultNetwork(nn.Module):
    """Each target reads every other modality; what it read goes through self-attention and is read out.

    Source: Tsai et al. 2019; see `Mult` for the departures.

    Args:
        specs: two modalities or more.
        n_outputs: width of the output.
    """

    def __init__(self, specs: Iterable[ModalitySpec], n_outputs: int, options: MultOptions) -> None:
        super().__init__()
        o, specs = options, tuple(specs)
        self.options, self.names = o, tuple(spec.name for spec in specs)
        self.targets = (o.target,) if o.target else self.names
        embedders = [TokenEmbedder(spec, o.width, o, bias=False, as_is=o.equal_width_as_is) for spec in specs]
        self.embed = nn.ModuleList(embedders)
        self.parts = {name: e.parts for name, e in zip(self.names, embedders, strict=True) if e.parts}
        width = (len(specs) - 1) * o.width
        self.read = nn.ModuleList(
            nn.ModuleList(Transformer(o.width, o.layers, o) for _ in self._sources(target)) for target in self.targets
        )
        self.memory = nn.ModuleList(Transformer(width, o.depth_of_memory, o) for _ in self.targets)
        learned = o.absent == "token"
        self.absent = nn.Parameter(0.02 * torch.randn(len(specs), o.width)) if learned else None
        total = len(self.targets) * width
        self.first, self.second, self.head = (
            nn.Linear(total, total),
            nn.Linear(total, total),
            nn.Linear(total, n_outputs),
        )
        self.dropout = Dropout(o.output_dropout)
        scale_head(self.head, o.head_scale)

    def _sources(self, target: str) -> Iterator[str]:
        return (name for name in self.names if name != target)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case has no modality at all.
        """
        return cast(Tensor, self.head(self.mixed(self.summary(self.tokens(batch)))))

    def mixed(self, summary: Tensor) -> Tensor:
        """The last residual block."""
        return cast(Tensor, self.second(self.dropout(self.first(summary).relu())) + summary)

    def tokens(self, batch: Batch) -> dict[str, Embedded]:
        """Of each modality, for all cases; a learned token, or none, for those that lack it."""
        some_modality(batch, self.names)
        cases, found = len(batch.bags[self.names[0]].mask), {}
        for m, (name, embed) in enumerate(zip(self.names, self.embed, strict=True)):
            there = embed(batch.bags[name]).spread(cases)
            found[name] = there if self.absent is None else _stood_in(there, self.absent[m])
        return found

    def summary(self, tokens: dict[str, Embedded]) -> Tensor:
        """(case, width of the residual block): the read-out of each target, side by side."""
        ends = []
        for i, target in enumerate(self.targets):
            mask = tokens[target].mask
            x = torch.cat([read.tokens for read in self.reads(i, tokens)], dim=-1)
            x, _ = self.memory[i](x, mask)
            ends.append(_read_out(x, mask, self.options.readout))
        return torch.cat(ends, dim=-1)

    def reads(self, i: int, tokens: dict[str, Embedded]) -> Iterator[Read]:
        """What target number `i` reads of each source."""
        target = self.targets[i]
        own = tokens[target]
        for network, source in zip(cast(nn.ModuleList, self.read[i]), self._sources(target), strict=True):
            other = tokens[source]
            x, looked = network(own.values, own.mask, other.values, other.mask)
            yield Read(x.masked_fill(~own.mask.unsqueeze(-1), 0.0), looked)

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """Where each modality is looked at by those that read it.

        Returns:
            modality -> (case, layer, head, item), the mean over the real tokens of the targets that a case has; even
            weights where a case has none of them. Each row of a modality that the case has sums to 1.
        """
        tokens = self.tokens(batch)
        looks: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in self.names}
        for i, target in enumerate(self.targets):
            mask = tokens[target].mask
            for source, read in zip(self._sources(target), self.reads(i, tokens), strict=True):
                weights = torch.stack(read.looked, dim=1)  # case layer head token source
                there = batch.bags[target].present
                looks[source].append((_mean(weights, mask, axis=3), there))
        return {
            name: self._on_items(tokens[name], looks[name], batch.bags[name].present)
            for name in self.names
            if looks[name]
        }

    def _on_items(self, own: Embedded, looks: list[tuple[Tensor, Tensor]], present: Tensor) -> Tensor:
        """The mean over the targets that a case has, on the items of the modality."""
        even = own.mask / own.mask.sum(dim=1, keepdim=True).clamp(min=1)
        weights = torch.stack([w for w, _ in looks])  # target case layer head token
        there = torch.stack([t for _, t in looks])[:, :, None, None, None]
        total = (weights * there).sum(dim=0) / there.sum(dim=0).clamp(min=1)
        chosen = torch.where(there.any(dim=0), total, even[:, None, None].to(total.dtype))
        return own.on_instances(chosen) * present[:, None, None, None]


def _mean(x: Tensor, mask: Tensor, axis: int) -> Tensor:
    """The mean over the tokens of `axis` that are real; mask (case, token)."""
    shape = [len(mask), *(1 for _ in x.shape[1:])]
    shape[axis] = mask.shape[1]
    real = mask.view(shape)
    return x.masked_fill(~real, 0.0).sum(dim=axis) / real.sum(dim=axis).clamp(min=1)


def _read_out(x: Tensor, mask: Tensor, how: str) -> Tensor:
    """(case, token, width) -> (case, width); zeros where a case has no token."""
    if how == "mean":
        return _mean(x, mask, axis=1)
    last = (mask.sum(dim=1) - 1).clamp(min=0)
    return x[torch.arange(len(x), device=x.device), last] * mask.any(dim=1, keepdim=True)


def _stood_in(tokens: Embedded, token: Tensor) -> Embedded:
    """The first token of each case that has none becomes `token`."""
    first = torch.zeros_like(tokens.mask)
    first[:, 0] = ~tokens.mask.any(dim=1)
    values = torch.where(first.unsqueeze(-1), token, tokens.values)
    return Embedded(tokens.rows, values, tokens.mask | first, tokens.pooled)
