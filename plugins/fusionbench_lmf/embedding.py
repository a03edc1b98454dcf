"""Each modality of a batch to one vector a case: the sub-networks of TFN and LMF, and attention over bags."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench import Bag, Batch, ModalitySpec
from fusionbench.nn import Dropout, QueryPool, masked_mean
from fusionbench_lmf.options import EmbeddingOptions


class CaseNorm(nn.BatchNorm1d):
    """Batch normalisation that takes a training batch of a single case: it is normalised as in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) < 2:  # one case has no spread
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class SubNetwork(nn.Module):
    """(case, dim) -> (case, width): batch normalisation or none, dropout, three times Linear, ReLU.

    Source: Zadeh et al. 2017 (TFN) and Liu et al. 2018 (LMF), the networks on audio and video.
    """

    def __init__(self, dim: int, width: int, options: EmbeddingOptions) -> None:
        super().__init__()
        self.norm = CaseNorm(dim) if options.batch_norm else nn.Identity()
        self.dropout = Dropout(options.dropout)
        layers = [nn.Linear(before, width) for before in (dim, width, width)]
        self.layers = nn.Sequential(*(step for linear in layers for step in (linear, nn.ReLU())))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.layers(self.dropout(self.norm(x))))


class Embedder(nn.Module):
    """A modality of a batch -> (case, width), zeros for the cases that lack it; nothing of them is read.

    Attributes:
        width: of the vector.
    """

    width: int

    @abstractmethod
    def embed(self, bag: Bag) -> tuple[Tensor, Tensor | None]:
        """Of a bag that every case has: (case, width), and the weights (case, query, instance) of its pooling."""

    def forward(self, bag: Bag) -> Tensor:
        return self.attend(bag)[0]

    def attend(self, bag: Bag) -> tuple[Tensor, Tensor | None]:
        """(case, width), and the weights (case, query, instance) or None; zeros where the modality is missing."""
        if bag.complete:
            return self.embed(bag)
        if len(bag.rows) == 0:
            return bag.values.new_zeros(len(bag.mask), self.width), None
        rows = bag.rows.to(bag.values.device, non_blocking=True)
        some = replace(bag, values=bag.values[rows], mask=bag.mask[rows], known=torch.arange(len(rows)))
        seen, weights = self.embed(some)
        spread = _spread(seen, rows, len(bag.mask))
        return spread, None if weights is None else _spread(weights, rows, len(bag.mask))


def _spread(values: Tensor, rows: Tensor, cases: int) -> Tensor:
    """(row, ...) -> (case, ...), zeros in the other cases."""
    return values.new_zeros(cases, *values.shape[1:]).index_copy(0, rows, values)


class VectorEmbedder(Embedder):
    """A vector, or the mean of a bag, through the `SubNetwork`."""

    def __init__(self, dim: int, width: int, options: EmbeddingOptions) -> None:
        super().__init__()
        self.width, self.network = width, SubNetwork(dim, width, options)

    def embed(self, bag: Bag) -> tuple[Tensor, None]:
        alone = bag.values.shape[1] == 1
        return self.network(bag.values[:, 0] if alone else masked_mean(bag.values, bag.mask)), None


class AttentionEmbedder(Embedder):
    """A bag pooled once by each learned query; all of it side by side through dropout, Linear, ReLU."""

    def __init__(self, dim: int, width: int, queries: int, dropout: float) -> None:
        super().__init__()
        self.width, self.pool = width, QueryPool(dim, width, queries)
        self.dropout, self.out = Dropout(dropout), nn.Linear(queries * width, width)

    def embed(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """The weights are (case, query, instance)."""
        pooled, weights = self.pool(bag.values, bag.mask)
        return self.out(self.dropout(pooled.flatten(start_dim=1))).relu(), weights


class LstmEmbedder(Embedder):
    """The last state of an LSTM over the instances in their order, dropout, Linear.

    Source: the networks on text of Zadeh et al. 2017 (TFN) and Liu et al. 2018 (LMF). Published, a batch of one case
    cannot be run (its axis is squeezed away); here it can.

    Args:
        hidden: width of the state; published: twice the width of the vector.
    """

    def __init__(self, dim: int, width: int, options: EmbeddingOptions, hidden: int | None = None) -> None:
        super().__init__()
        self.width, hidden = width, hidden or 2 * width
        self.rnn = nn.LSTM(dim, hidden, batch_first=True)
        self.dropout, self.out = Dropout(options.dropout), nn.Linear(hidden, width)

    def embed(self, bag: Bag) -> tuple[Tensor, None]:
        states, _ = self.rnn(bag.values)
        # Instances stand first and padding last, so that what is padded is read after the state that is taken.
        last = states[torch.arange(len(states), device=states.device), bag.mask.sum(dim=1) - 1]
        return self.out(self.dropout(last)), None


def embedders(specs: Iterable[ModalitySpec], width: int, options: EmbeddingOptions) -> nn.ModuleList:
    """What makes a vector of each modality, as the options say."""

    def made(spec: ModalitySpec) -> Embedder:
        if spec.kind == "vector" or options.bag == "mean":
            return VectorEmbedder(spec.dim, width, options)
        if options.bag == "lstm":
            return LstmEmbedder(spec.dim, width, options)
        return AttentionEmbedder(spec.dim, width, options.queries, options.dropout)

    return nn.ModuleList(made(spec) for spec in specs)


def attention_of(embed: Iterable[nn.Module], names: Sequence[str], batch: Batch) -> dict[str, Tensor]:
    """(case, 1, query, instance) weights of the modalities that are pooled by attention."""
    found = {}
    for name, embedder in zip(names, embed, strict=True):
        if isinstance(embedder, AttentionEmbedder):
            bag = batch.bags[name]
            weights = embedder.attend(bag)[1]
            none = bag.values.new_zeros(len(bag.mask), embedder.pool.queries, bag.mask.shape[1])
            found[name] = (none if weights is None else weights).unsqueeze(1)
    return found
