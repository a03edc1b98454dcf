"""Building blocks for torch models, and the base class that ties a module to the training loop."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from fusionbench.dropout import Dropout as Dropout
from fusionbench.dropout import dropout as dropout
from fusionbench.errors import DataError, SuiteError
from fusionbench.interfaces import FitContext, FusionModel, Predictor, RestoreContext, State
from fusionbench.search import Interval, SearchSpace
from fusionbench.types import Bag, Batch, CaseSet, ModalitySpec, Task


class TorchModel(FusionModel):
    """A fusion model that is one torch module, trained by the harness with the suite's recipe.

    Implement `build`; what it returns maps a Batch to logits (case, n_outputs). Initialisation may use torch's global
    random numbers: the harness has seeded them. A module may also have

    - `attention(batch)`, which returns modality name to weights (case, layer, head, item) as `Attention` has them,
    - `parts`, modality name to `Attention.parts`, for vectors that are cut into items, and
    - `notes`, lines for the reader of the results (a feature group that is empty and was left out).
    """

    @abstractmethod
    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        """A module with fresh parameters for these modalities; same `options`, same parameter names."""

    def search_space(self) -> SearchSpace:
        """The recipe's keys, the same for every network; extend it by what is the model's own."""
        return {"train.lr": Interval(1e-4, 3e-3, log=True), "train.l1": Interval(0.0, 5e-4)}

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        return ctx.train(self.build(ctx.task, ctx.specs), train, val)

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        return ctx.module(self.build(ctx.task, ctx.specs), state)


def complete(batch: Batch, name: str, who: str) -> Bag:
    """The bag of a modality that every case must have.

    Raises:
        DataError: naming the first case that lacks it; what stands for a missing modality is the harness's choice.
    """
    bag = batch.bags[name]
    if not bool(bag.present.all()):
        case = batch.ids[int((~bag.present).nonzero()[0])]
        raise DataError(f"case {case!r} has no {name!r}: {who} needs it, or an imputed one")
    return bag


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
    if mask.device.type == "cpu" and bool(mask.all()):  # elsewhere, asking would wait for the device
        return scores.softmax(dim)
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

    def scores(self, instances: Tensor) -> Tensor:
        """(case, instance, dim) -> (case, instance), before the softmax."""
        value, gate = self.project(instances).chunk(2, dim=-1)
        gated = value.tanh() * gate.sigmoid()
        if self.training:
            gated = dropout(gated, 1.0 - (1.0 - self.dropout.p) ** 2)
        return cast(Tensor, self.score(gated)).squeeze(-1)

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
            nn.init.normal_(linear.weight, std=1 / math.sqrt(in_dim))
            nn.init.zeros_(linear.bias)


class ConcatFusion(nn.Module):
    """Two embeddings side by side -> Linear, ReLU -> Linear, ReLU.

    Args:
        dims: widths of the two embeddings.
        hidden: width of both layers and of the result.

    Source: Chen et al. 2022 (Porpoise) and 2021 (MCAT), fusion "concat".
    """

    def __init__(self, dims: tuple[int, int], hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(sum(dims), hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """(case, dims[0]) and (case, dims[1]) -> (case, hidden)."""
        return cast(Tensor, self.layers(torch.cat([left, right], dim=-1)))


class KroneckerFusion(nn.Module):
    """Gated Kronecker product of two embeddings.

    Each embedding x is reduced to h = ReLU(W x), gated by sigmoid of a linear map of both embeddings, and passed
    through Linear, ReLU, dropout to o. The outer product of [o_left, 1] and [o_right, 1], flattened with left outside,
    goes through two Linear, ReLU layers; with `skip` both embeddings are appended before the second.

    Args:
        dims: widths of the two embeddings.
        hidden: width of the two last layers and of the result.
        scale: each embedding is reduced to its width divided by this.
        gates: whether each embedding is gated.
        skip: append both embeddings before the last layer.
        dropout: after o and on the outer product.
        encoder_dropout: after each of the two last layers; MCAT has .25, Porpoise none.

    Raises:
        ValueError: if an embedding is narrower than its scale.

    Source: Chen et al. 2020 (pathomic fusion), as in Porpoise and MCAT, fusion "bilinear". The published gate is a
    linear map of both embeddings side by side; the bilinear gate of the paper is never switched on there.
    """

    def __init__(
        self,
        dims: tuple[int, int],
        hidden: int,
        *,
        scale: tuple[int, int] = (8, 8),
        gates: tuple[bool, bool] = (True, True),
        skip: bool = False,
        dropout: float = 0.25,
        encoder_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if dims[0] < scale[0] or dims[1] < scale[1]:
            raise ValueError(f"Kronecker fusion divides widths {dims} by {scale}: each must be at least its divisor")
        reduced = (dims[0] // scale[0], dims[1] // scale[1])
        self.skip = skip
        self.value = nn.ModuleList(
            nn.Sequential(nn.Linear(d, r), nn.ReLU()) for d, r in zip(dims, reduced, strict=True)
        )
        self.gate = nn.ModuleList(
            nn.Linear(sum(dims), r) if gated else nn.Identity() for r, gated in zip(reduced, gates, strict=True)
        )
        self.out = nn.ModuleList(fully_connected(r, r, dropout) for r in reduced)
        self.gates, self.dropout = gates, Dropout(dropout)
        product = (reduced[0] + 1) * (reduced[1] + 1)
        self.encode = fully_connected(product, hidden, encoder_dropout)
        self.combine = fully_connected(hidden + (sum(dims) if skip else 0), hidden, encoder_dropout)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """(case, dims[0]) and (case, dims[1]) -> (case, hidden)."""
        both = torch.cat([left, right], dim=-1)
        first, second = (self._reduced(i, x, both) for i, x in enumerate((left, right)))
        product = torch.einsum("ci,cj->cij", first, second).flatten(start_dim=1)
        encoded = self.encode(self.dropout(product))
        return cast(Tensor, self.combine(torch.cat([encoded, both], dim=-1) if self.skip else encoded))

    def _reduced(self, i: int, x: Tensor, both: Tensor) -> Tensor:
        """(case, reduced + 1): the reduced embedding and a last column of ones."""
        value = self.value[i](x)
        if self.gates[i]:
            value = self.gate[i](both).sigmoid() * value
        return nn.functional.pad(self.out[i](value), (0, 1), value=1.0)


def fusion_of_equals(kind: Literal["concat", "bilinear"], width: int, *, scale: int, dropout: float) -> nn.Module:
    """Twice (case, width) -> (case, width), as MCAT and its set-MIL file fuse."""
    if kind == "concat":
        return ConcatFusion((width, width), width)
    return KroneckerFusion((width, width), width, scale=(scale, scale), dropout=dropout, encoder_dropout=dropout)


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one.

    Raises:
        SuiteError: CUDA asked for, but there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise SuiteError("--device cuda: this torch sees no CUDA device; use --device cpu, or install a CUDA build")
    if name not in ("cpu", "cuda"):
        raise SuiteError(f"--device {name}: choices are auto, cpu, cuda")
    return torch.device(name)
