"""MBT as a torch module: a Batch in, logits and attention out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from fusionbench_mult import Embedded, MultiHeadAttention, TokenEmbedder
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench import Batch, ModalitySpec, Outputs, Steps
from fusionbench.nn import Dropout, scale_head, some_modality
from fusionbench_mbt.options import MbtOptions

_STD = 0.02  # of learned tokens at the start, as published


@dataclass(eq=False)
class Stream:
    """Tokens of the cases that have a modality: its class token, its own tokens, behind them the bottlenecks.

    Attributes:
        values: (row, 1 + token, width).
        mask: (row, 1 + token) bool, True = real.
        source: what the tokens were made of.
        looked: weights (row, head, token) of the class token on the modality's own tokens, one a layer.
    """

    values: Tensor
    mask: Tensor
    source: Embedded
    looked: list[Tensor]


class Block(nn.Module):
    """x + attention(norm x), then x + feed-forward(norm x) with GELU."""

    def __init__(self, options: MbtOptions) -> None:
        super().__init__()
        width, inner = options.width, options.expansion * options.width
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attend = MultiHeadAttention(width, options.heads)
        self.expand, self.contract = nn.Linear(width, inner), nn.Linear(inner, width)
        self.dropout = Dropout(options.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(row, token, width), and the weights (row, head, token, token)."""
        normed = self.norms[0](x)
        looked, weights = self.attend(normed, normed, normed, mask.unsqueeze(1))
        x = x + self.dropout(looked)
        return x + self.dropout(self.contract(F.gelu(self.expand(self.norms[1](x))))), weights


class MbtNetwork(nn.Module):
    """A transformer for each modality; from one layer on they exchange through bottleneck tokens alone.

    Source: Nagrani et al. 2021, equations 8 to 10: in a layer with exchange, every modality reads the same incoming
    bottlenecks, and the outgoing ones are the mean of what the modalities made of them.
    """

    def __init__(self, specs: Iterable[ModalitySpec], n_outputs: int, options: MbtOptions) -> None:
        super().__init__()
        o, specs = options, tuple(specs)
        self.options, self.names = o, tuple(spec.name for spec in specs)
        embedders = [TokenEmbedder(spec, o.width, o) for spec in specs]
        self.embed = nn.ModuleList(embedders)
        self.parts = {name: e.parts for name, e in zip(self.names, embedders, strict=True) if e.parts}
        classed = o.readout == "class"
        self.classes = nn.Parameter(torch.zeros(len(specs), o.width)) if classed else None
        exchanged = o.fusion_layer < o.layers
        self.bottlenecks = nn.Parameter(_STD * torch.randn(o.bottlenecks, o.width)) if exchanged else None
        sets = 1 if o.sharing else len(specs)
        self.blocks = nn.ModuleList(nn.ModuleList(Block(o) for _ in range(o.layers)) for _ in range(sets))
        self.norm, self.head = nn.LayerNorm(o.width), nn.Linear(o.width, n_outputs)
        scale_head(self.head, o.head_scale)

    def forward(self, batch: Batch) -> Tensor | Outputs:
        """(case, n_outputs) logits; with those of each modality as steps where they are trained, which is in training.

        Raises:
            DataError: if a case has no modality at all.
        """
        states = self.states(batch)
        cases = len(batch.bags[self.names[0]].mask)
        if self.options.readout == "class":
            ends = [(s.source.rows, self.head(self.norm(s.values[:, 0])), None) for s in states]
            logits = _mean_over_modalities(ends, cases)
            return self._each(logits, ends) if self.training and self.options.supervised == "each" else logits
        sums = [(s.source.rows, _sum(self.norm(s.values), s.mask), s.mask.sum(dim=1)) for s in states]
        return cast(Tensor, self.head(_mean_over_modalities(sums, cases)))

    def _each(self, logits: Tensor, ends: Sequence[tuple[Tensor, Tensor, None]]) -> Outputs:
        """The loss is that of each modality's logits, the mean over the modalities that the cases have."""
        own = [logits.new_zeros(logits.shape).index_copy(0, rows, of.to(logits.dtype)) for rows, of, _ in ends]
        taken = [torch.zeros(len(logits), device=logits.device).index_fill(0, rows, 1).bool() for rows, _, _ in ends]
        steps = Steps(self.names, torch.stack(own, dim=1), torch.stack(taken, dim=1))
        return Outputs(logits, weights={"loss": 0.0}, step_logits=steps)

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """Where the class token of each modality looks among the modality's own tokens.

        Returns:
            modality -> (case, layer, head, item); of readout "mean", the mean over all tokens in place of the class
            token. Each row of a modality that the case has sums to 1 over its items.
        """
        cases, found = len(batch.bags[self.names[0]].mask), {}
        for name, state in zip(self.names, self.states(batch), strict=True):
            weights = torch.stack(state.looked, dim=1)
            own = weights / weights.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
            items = state.source.on_instances(own)
            found[name] = items.new_zeros(cases, *items.shape[1:]).index_copy(0, state.source.rows, items)
        return found

    def states(self, batch: Batch) -> list[Stream]:
        """The modalities after the last layer; only of the cases that have them."""
        some_modality(batch, self.names)
        states = [self._begin(m, batch) for m in range(len(self.names))]
        cases = len(batch.bags[self.names[0]].mask)
        shared = None if self.bottlenecks is None else self.bottlenecks.expand(cases, -1, -1)
        for i in range(self.options.layers):
            exchange = shared is not None and i >= self.options.fusion_layer
            written = [self._step(m, i, s, shared if exchange else None) for m, s in enumerate(states)]
            if exchange:
                rows = [(s.source.rows, w, None) for s, w in zip(states, written, strict=True) if w is not None]
                shared = _mean_over_modalities(rows, cases)
        return states

    def _begin(self, m: int, batch: Batch) -> Stream:
        tokens = self.embed[m](batch.bags[self.names[m]])
        values, mask = tokens.values, tokens.mask
        if self.classes is not None:
            values = torch.cat([self.classes[m].expand(len(values), 1, -1), values], dim=1)
            mask = F.pad(mask, (1, 0), value=True)
        return Stream(values, mask, tokens, [])

    def _step(self, m: int, layer: int, state: Stream, shared: Tensor | None) -> Tensor | None:
        """One layer of one modality; what it made of the bottlenecks (row, bottleneck, width), where it had any."""
        blocks = cast(nn.ModuleList, self.blocks[min(m, len(self.blocks) - 1)])
        x, mask, length = state.values, state.mask, state.values.shape[1]
        if shared is not None:
            x = torch.cat([x, shared[state.source.rows]], dim=1)
            mask = F.pad(mask, (0, shared.shape[1]), value=True)
        x, weights = blocks[layer](x, mask)
        state.looked.append(self._looked(weights, state))
        state.values = x[:, :length]
        return None if shared is None else x[:, length:]

    def _looked(self, weights: Tensor, state: Stream) -> Tensor:
        """(row, head, token): what the class token, or the mean of the modality's tokens, gives the modality's own."""
        if self.classes is not None:
            return weights[:, :, 0, 1 : state.values.shape[1]]
        own = weights[:, :, : state.values.shape[1], : state.values.shape[1]]
        real = state.mask[:, None, :, None]
        return own.masked_fill(~real, 0.0).sum(dim=2) / real.sum(dim=2).clamp(min=1)


def _sum(x: Tensor, mask: Tensor) -> Tensor:
    return x.masked_fill(~mask.unsqueeze(-1), 0.0).sum(dim=1)


def _mean_over_modalities(parts: Sequence[tuple[Tensor, Tensor, Tensor | None]], cases: int) -> Tensor:
    """(case, ...): the mean of what the modalities that a case has say of it.

    Args:
        parts: rows, values (row, ...), and how many members the values are sums of, (row,); None = 1.
    """
    first = parts[0][1]
    total = first.new_zeros(cases, *first.shape[1:])
    count = first.new_zeros(cases)
    for rows, values, members in parts:
        total = total.index_add(0, rows, values)
        count = count.index_add(0, rows, count.new_ones(len(rows)) if members is None else members.to(count.dtype))
    return total / count.view(-1, *(1 for _ in first.shape[1:]))
