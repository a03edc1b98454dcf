"""Building blocks of torch models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from fusionbench.core.errors import DataError
from fusionbench.core.types import Bag, Batch
from fusionbench.nn.fast_dropout import Dropout, dropout


def complete(batch: Batch, name: str, who: str) -> Bag:
    """The bag of a modality that every case must have.

    Raises:
        DataError: naming the first case that lacks it; what stands for a missing modality is the harness's choice.
    """
    bag = batch.bags[name]
    if not bag.complete:
        case = batch.ids[int((~bag.present).nonzero()[0])]
        raise DataError(f"case {case!r} has no {name!r}: {who} needs it, or an imputed one")
    return bag


def some_modality(batch: Batch, names: Sequence[str]) -> None:
    """Refuse a case that has none of the modalities: its prediction could rest on nothing.

    Raises:
        DataError: naming the first such case.
    """
    bags = [batch.bags[name] for name in names]
    if any(bag.complete for bag in bags):
        return
    there = set(torch.cat([bag.rows for bag in bags]).tolist())
    if bare := [case for i, case in enumerate(batch.ids) if i not in there]:
        raise DataError(f"case {bare[0]!r} has none of {', '.join(names)}: leave it out, or give it one of them")


def vectors(batch: Batch, names: Sequence[str], who: str) -> Tensor:
    """(case, feature): the vectors called `names` side by side, in that order.

    Raises:
        DataError: if a case lacks one of them.
    """
    return torch.cat([complete(batch, name, who).values[:, 0] for name in names], dim=-1)


def fourier_features(positions: Tensor, bands: int, max_frequency: float) -> Tensor:
    """sin, cos and the position itself, per axis and then side by side.

    Args:
        positions: (..., axis) in [-1, 1].
        bands: frequencies w, evenly spaced from 1 to max_frequency / 2; the features are sin(pi p w), cos(pi p w), p.

    Returns:
        (..., axis * (2 * bands + 1)).

    Source: Jaegle et al. 2021, in the order of HEALNet's repository.
    """
    # At most half the sampling rate (Nyquist), as a higher frequency could not be told from a lower one.
    w = torch.linspace(1.0, max_frequency / 2, bands, dtype=positions.dtype, device=positions.device)
    angle = positions.unsqueeze(-1) * w * math.pi
    return torch.cat([angle.sin(), angle.cos(), positions.unsqueeze(-1)], dim=-1).flatten(start_dim=-2)


def masked_softmax(scores: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Softmax over the entries where `mask` is True; zero elsewhere.

    A slice without any True entry gives zeros, and its gradient is zero: a missing modality adds nothing.

    Args:
        scores: any shape; entries where `mask` is False are never read.
        mask: bool, broadcastable to `scores`; True = real.
    """
    # asking a GPU would wait for it; and what depends on numbers cannot be compiled
    if mask.device.type == "cpu" and not torch.compiler.is_compiling() and bool(mask.all()):
        return scores.softmax(dim)
    # The smallest finite number and not -inf: a slice of -inf alone would give NaN, in the gradient too.
    filled = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return filled.softmax(dim).masked_fill(~mask, 0.0)


def one_head(weights: Tensor) -> Tensor:
    """(case, item) -> (case, layer, head, item): the attention of a model that chooses once, with one head."""
    return weights[:, None, None]


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """(case, instance, feature) -> (case, feature): the sum of the real instances; padded ones are never read."""
    return values.masked_fill(~mask.unsqueeze(-1), 0.0).sum(dim=1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(case, instance, feature) -> (case, feature): the mean of the real instances, zeros where there is none."""
    return masked_sum(values, mask) / mask.sum(dim=1, keepdim=True).clamp(min=1)


class GatedAttention(nn.Module):
    """Pools the instances of a bag by gated attention.

    The score of an instance h is w . (tanh(V h) * sigmoid(U h)) + b; V and U are one projection (V's rows first).

    Args:
        dim: width of an instance.
        hidden: width of V h and U h.
        dropout: applied to tanh(V h) and to sigmoid(U h). Only their product is used, and it is dropped where one of
            them is; so one draw with that probability does for both.

    Source: Ilse, Tomczak and Welling 2018, equation 9, with biases.
    """

    def __init__(self, dim: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.project = nn.Linear(dim, 2 * hidden)
        self.score = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(dropout)

    @property
    def rate(self) -> float:
        """With which the product of both is dropped now."""
        return 1.0 - (1.0 - self.dropout.p) ** 2 if self.training else 0.0

    def scores(self, instances: Tensor) -> Tensor:
        """(case, instance, dim) -> (case, instance), before the softmax."""
        # One product of twice the width is quicker than two.
        value, gate = self.project(instances).chunk(2, dim=-1)
        return cast(Tensor, self.score(dropout(value.tanh() * gate.sigmoid(), self.rate))).squeeze(-1)

    def forward(self, instances: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pool (case, instance, dim) under mask (case, instance).

        Returns:
            pooled (case, dim), zeros where a case has no instance; weights (case, instance).
        """
        weights = masked_softmax(self.scores(instances), mask)
        return (weights.unsqueeze(1) @ instances).squeeze(1), weights


def fully_connected(in_dim: int, out_dim: int, dropout: float) -> nn.Sequential:
    """Linear, ReLU, dropout."""
    return nn.Sequential(nn.Linear(in_dim, out_dim), nn.ReLU(), Dropout(dropout))


def scale_head(head: nn.Linear, scale: float) -> None:
    """Multiply the start of an output layer; the random numbers drawn for it stay the same."""
    with torch.no_grad():
        head.weight.mul_(scale)
        head.bias.mul_(scale)


class SNNBlock(nn.Sequential):
    """A layer of a self-normalising network: Linear, activation, dropout.

    Args:
        dropout: share of activations dropped in training, in [0, 1).
        dropout_kind: "alpha" is AlphaDropout (Klambauer et al. 2017; MCAT and Porpoise), which keeps mean and variance
            of activations with mean 0 and variance 1, as SELU's are before training; "plain" keeps any mean.
        activation: "selu" is Klambauer et al. 2017; "elu" is what MCAT and Porpoise call SNN.
        init: "lecun" = weights N(0, 1 / in_dim), biases 0, which self-normalisation rests on; "torch" = as torch does.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        dropout: float = 0.25,
        dropout_kind: Literal["alpha", "plain"] = "alpha",
        activation: Literal["elu", "selu"] = "elu",
        init: Literal["lecun", "torch"] = "lecun",
    ) -> None:
        linear = nn.Linear(in_dim, out_dim)
        drop = {"alpha": nn.AlphaDropout, "plain": nn.Dropout}[dropout_kind](dropout)
        super().__init__(linear, {"elu": nn.ELU, "selu": nn.SELU}[activation](), drop)
        if init == "lecun":
            # Variance 1 / in_dim keeps the variance of activations at 1 from layer to layer (Klambauer et al. 2017).
            nn.init.normal_(linear.weight, std=1 / math.sqrt(in_dim))
            nn.init.zeros_(linear.bias)
