"""Building blocks for torch models, and the base class that ties a module to the training loop."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from fusionbench.interfaces import FitContext, FusionModel, Predictor, RestoreContext, State
from fusionbench.types import CaseSet, ModalitySpec, Task


class TorchModel(FusionModel):
    """A fusion model that is one torch module, trained by the harness with the suite's recipe.

    Implement `build`; what it returns maps a Batch to logits (case, n_outputs). Initialisation may use torch's global
    random numbers: the harness has seeded them. A module may also have `attention(batch)`, which returns modality name
    to weights (case, instance) that sum to 1 over the real instances of a case and are zero where padded or missing.
    """

    @abstractmethod
    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        """A module with fresh parameters for these modalities; same `options`, same parameter names."""

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        return ctx.train(self.build(ctx.task, ctx.specs), train, val)

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        return ctx.module(self.build(ctx.task, ctx.specs), state)


def masked_softmax(scores: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Softmax over the entries where `mask` is True; zero elsewhere.

    A slice without any True entry gives zeros, and its gradient is zero: a missing modality adds nothing.

    Args:
        scores: any shape; entries where `mask` is False are never read.
        mask: bool, broadcastable to `scores`; True = real.
    """
    filled = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return filled.softmax(dim).masked_fill(~mask, 0.0)


class GatedAttention(nn.Module):
    """Pools the instances of a bag by gated attention.

    The score of an instance h is w . (tanh(V h) * sigmoid(U h)) + b; V and U are one projection (V's rows first).

    Args:
        dim: width of an instance.
        hidden: width of V h and U h.
        dropout: applied to tanh(V h) and to sigmoid(U h).

    Source: Ilse, Tomczak and Welling 2018, equation 9, with biases.
    """

    def __init__(self, dim: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.project = nn.Linear(dim, 2 * hidden)
        self.score = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(dropout)

    def scores(self, instances: Tensor) -> Tensor:
        """(case, instance, dim) -> (case, instance), before the softmax."""
        value, gate = self.project(instances).chunk(2, dim=-1)
        gated: Tensor = self.score(self.dropout(value.tanh()) * self.dropout(gate.sigmoid()))
        return gated.squeeze(-1)

    def forward(self, instances: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pool (case, instance, dim) under mask (case, instance).

        Returns:
            pooled (case, dim), zeros where a case has no instance; weights (case, instance).
        """
        weights = masked_softmax(self.scores(instances), mask)
        return (weights.unsqueeze(1) @ instances).squeeze(1), weights


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
            nn.init.normal_(linear.weight, std=1 / math.sqrt(in_dim))
            nn.init.zeros_(linear.bias)
