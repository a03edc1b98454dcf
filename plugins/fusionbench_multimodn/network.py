"""MultiModN as a torch module: a Batch in, logits, steps and the change of the state out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from fusionbench_lmf import AttentionEmbedder, attention_of
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench import Bag, Batch, ModalitySpec, Outputs, Steps
from fusionbench.nn import Dropout, masked_mean
from fusionbench_multimodn.options import START, MultiModNOptions


class MeanReader(nn.Module):
    """(case, feature): a vector as it is, or the mean of a bag's instances."""

    def forward(self, bag: Bag) -> Tensor:
        return bag.values[:, 0] if bag.values.shape[1] == 1 else masked_mean(bag.values, bag.mask)


def readers(specs: Iterable[ModalitySpec], options: MultiModNOptions) -> nn.ModuleList:
    """What makes the features of each modality, as the options say."""
    o = options
    return nn.ModuleList(
        AttentionEmbedder(spec.dim, o.bag_width, o.queries, o.dropout)
        if spec.kind != "vector" and o.bag == "attention"
        else MeanReader()
        for spec in specs
    )


class StateEncoder(nn.Module):
    """The state of a case and its features of one modality -> its next state.

    Args:
        features: width of the features.
        hidden: widths of the hidden layers.

    Source: `MIMIC_MLPEncoder` ("full") and `MLPEncoder` ("late") of the published program.
    """

    def __init__(self, features: int, hidden: Sequence[int], options: MultiModNOptions) -> None:
        super().__init__()
        self.full, self.activate = options.encoder == "full", getattr(F, options.activation)
        widths = [features, *hidden, options.state]
        inputs = widths[:-1]
        inputs[0 if self.full else -1] += options.state
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(inputs, widths[1:], strict=True))
        self.dropout = Dropout(options.dropout)

    def forward(self, state: Tensor, features: Tensor) -> Tensor:
        """(case, state) and (case, feature) -> (case, state)."""
        x = self.dropout(torch.cat([features, state], dim=1) if self.full else features)
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activate(layer(x))
        x = last(x if self.full else torch.cat([x, state], dim=1))
        return cast(Tensor, self.activate(x) if self.full else x)


def encoders(widths: Iterable[int], options: MultiModNOptions) -> nn.ModuleList:
    """One for each modality, given the widths of their features."""
    return nn.ModuleList(StateEncoder(width, options.hidden, options) for width in widths)


class Decoder(nn.Sequential):
    """A state -> logits, by hidden layers with ReLU and a last linear map."""

    def __init__(self, state: int, hidden: Sequence[int], n_outputs: int) -> None:
        layers = [nn.Linear(a, b) for a, b in pairwise((state, *hidden, n_outputs))]
        between = [step for layer in layers[:-1] for step in (layer, nn.ReLU())]
        super().__init__(*between, layers[-1])


class Walk(NamedTuple):
    """The states of the cases, from the start on, in the order in which the modalities were read.

    Attributes:
        sequence: positions of the modalities, in that order.
        states: (case, 1 + modality, state); a case that lacks a modality keeps its state.
        taken: (case, 1 + modality) bool; the start is always taken.
        pairs: how many of `taken` are True.
    """

    sequence: tuple[int, ...]
    states: Tensor
    taken: Tensor
    pairs: int

    @property
    def change(self) -> Tensor:
        """(case, modality): the mean squared change of the state; 0 where the case lacks the modality."""
        return (self.states[:, 1:] - self.states[:, :-1]).square().mean(dim=2)


class MultiModNNetwork(nn.Module):
    """One state a case; each modality that the case has updates it, and one decoder gives logits after each.

    Trained is (error_penalty x sum over the steps of the task's loss) / (1 + modalities)
    + (change_penalty x sum over the modalities of the change) / modalities, a mean over cases; steps that a case does
    not take count as 0.

    Source: Swamy et al. 2023. Starts as published: the first state N(0, 1), all else as torch does.

    Args:
        names: of the modalities, in the order in which they are read.
        read: what makes the features of each of them.
        encode: a `StateEncoder` for each of them.
        decode: (..., state) -> (..., n_outputs).
    """

    def __init__(
        self,
        names: Sequence[str],
        read: nn.ModuleList,
        encode: nn.ModuleList,
        decode: nn.Module,
        options: MultiModNOptions,
    ) -> None:
        super().__init__()
        self.names, self.options = tuple(names), options
        self.start = nn.Parameter(torch.randn(1, options.state))
        self.read, self.encode, self.decode = read, encode, decode

    def forward(self, batch: Batch) -> Outputs:
        """Logits after the last modality, and after each step; a case without any modality has those of the start."""
        o, walk = self.options, self.walk(batch)
        decoded = self.decode(walk.states)
        logits = decoded.sigmoid() if o.squash else decoded
        # By modality, in the order of the names, whatever the order of this batch.
        column = [0, *(1 + walk.sequence.index(m) for m in range(len(self.names)))]
        steps = Steps((START, *self.names), logits[:, column], walk.taken[:, column])
        cases, modalities = len(walk.states), len(self.names)
        if o.denominators == "constant":
            change = walk.change.sum(dim=1) / modalities
            # The harness takes the mean over the steps that were taken.
            share = walk.pairs / (cases * (1 + modalities))
        else:
            change, share = walk.change.sum() / max(walk.pairs - cases, 1), 1.0
        # The last state is one of the steps: it counts there, not twice.
        weights = {"loss": 0.0, "steps": o.error_penalty * share, "change": o.change_penalty}
        return Outputs(logits[:, -1], {"change": change}, weights, walk.states[:, -1], steps)

    def walk(self, batch: Batch) -> Walk:
        """Read one modality after the other, each for the cases that have it."""
        sequence = tuple(self._sequence())
        cases = len(batch.ids)
        states, taken = [self.start.expand(cases, -1)], [self.start.new_ones(cases, dtype=torch.bool)]
        pairs = cases
        for m in sequence:
            bag = batch.bags[self.names[m]]
            state, there, count = self._step(m, bag, states[-1])
            states.append(state)
            taken.append(there)
            pairs += count
        return Walk(sequence, torch.stack(states, dim=1), torch.stack(taken, dim=1), pairs)

    def _sequence(self) -> list[int]:
        count = len(self.names)
        return torch.randperm(count).tolist() if self.training and self.options.shuffle else list(range(count))

    def _step(self, m: int, bag: Bag, state: Tensor) -> tuple[Tensor, Tensor, int]:
        """The next state, who took the step, and how many did."""
        if bag.complete:
            return self.encode[m](state, self.read[m](bag)), bag.present, len(state)
        if len(bag.rows) == 0 or (self.training and self.options.skip_whole_batch):
            return state, torch.zeros_like(bag.present), 0
        rows = bag.rows.to(state.device, non_blocking=True)
        new = self.encode[m](state[rows], self.read[m](bag)[rows])
        return state.index_copy(0, rows, new), bag.present, len(rows)

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """(case, 1, query, instance) weights of bags and grids that are pooled by attention."""
        return attention_of(self.read, self.names, batch)
