"""Instances embedded and pooled by gated attention, on the CPU some rows at a time.

Written layer by layer, a batch of long bags makes a dozen arrays that fit in no cache, each in memory that the system
has to clear first; that takes as long as the products between them. Here everything but what the backward needs (the
embedding, tanh and sigmoid) lives in a few rows that are used again, what dropout keeps is drawn again in the backward,
and gradients of the rows are never put together. The arithmetic and the random numbers are those of the layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fusionbench.nn.blocks import GatedAttention, masked_softmax
from fusionbench.nn.fast_dropout import Draws, drawn_in_words

_ROWS = 2048
"""At a time: a multiple of four, for `Draws`. 8 MiB of 1,024 channels."""


def embed_and_pool(
    values: Tensor, mask: Tensor, embed: nn.Sequential, pool: GatedAttention, drop: nn.Dropout | None = None
) -> tuple[Tensor, Tensor]:
    """`pool(embed(drop(values)), mask)`, in rounding apart.

    Args:
        values: (case, instance, channel).
        mask: (case, instance) bool; True = real.
        embed: a `fully_connected`.
        drop: on the channels.

    Returns:
        pooled (case, width), zeros where a case has no instance; weights (case, instance).
    """
    linear, last = cast(nn.Linear, embed[0]), cast(nn.Dropout, embed[2])
    narrowest = min(linear.in_features, linear.out_features, pool.score.in_features)
    if values.requires_grad or not drawn_in_words(values, mask.numel() * narrowest):
        return cast(tuple[Tensor, Tensor], pool(embed(values if drop is None else drop(values)), mask))
    rates = (_rate(drop), _rate(last), pool.rate)
    layers = (linear, pool.project, pool.score)
    weights = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    return cast(tuple[Tensor, Tensor], _EmbedAndPool.apply(values, mask, *weights, rates))  # type: ignore[no-untyped-call]


def _rate(layer: nn.Dropout | None) -> float:
    return layer.p if layer is not None and layer.training else 0.0


def _pieces(rows: Tensor, width: int, hidden: int) -> Iterator[tuple[slice, Tensor, Tensor, Tensor, Tensor, Tensor]]:
    """Which rows, and room for as many: as wide as they are, `width`, twice `hidden`, `hidden` and again `hidden`."""
    room = [rows.new_empty(min(len(rows), _ROWS), n) for n in (rows.shape[1], width, 2 * hidden, hidden, hidden)]
    for start in range(0, len(rows), _ROWS):
        at = slice(start, min(start + _ROWS, len(rows)))
        wide, mid, both, one, other = (buffer[: at.stop - start] for buffer in room)
        yield at, wide, mid, both, one, other


class _EmbedAndPool(torch.autograd.Function):
    """The forward saves the embedding, its tanh and its sigmoid; where the embedding is zero no gradient passes."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, mask: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        embed, embed_bias, project, project_bias, score, score_bias, rates = rest
        ctx.draws = [Draws(rate) for rate in rates]
        on_input, on_embedded, on_gated = (draws.stream() for draws in ctx.draws)
        rows, hidden = values.flatten(0, 1), score.shape[1]
        embedded = rows.new_empty(len(rows), len(embed))
        tanh, sigmoid = rows.new_empty(2, len(rows), hidden)
        scores = rows.new_empty(len(rows), 1)
        for at, wide, mid, both, one, _ in _pieces(rows, len(embed), hidden):
            part = torch.addmm(embed_bias, on_input(wide).mul_(rows[at]), embed.T, out=embedded[at])
            part.relu_().mul_(on_embedded(mid))
            torch.addmm(project_bias, part, project.T, out=both)
            torch.tanh(both[:, :hidden], out=tanh[at])
            torch.sigmoid(both[:, hidden:], out=sigmoid[at])
            gated = on_gated(one).mul_(tanh[at]).mul_(sigmoid[at])
            torch.addmm(score_bias, gated, score.T, out=scores[at])
        weights = masked_softmax(scores.view(mask.shape), mask)
        ctx.save_for_backward(values, embed, project, score, embedded, tanh, sigmoid, weights)
        return (weights.unsqueeze(1) @ embedded.view(*mask.shape, -1)).squeeze(1), weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pooled: Tensor, attended: Tensor) -> tuple[Tensor | None, ...]:
        """Of the parameters, given the gradients of what was pooled and of the weights."""
        values, embed, project, score, embedded, tanh, sigmoid, weights = ctx.saved_tensors
        on_input, on_embedded, on_gated = (draws.stream() for draws in ctx.draws)
        # Backward of pooled = weights @ embedded, towards the weights.
        attended = attended + (embedded.view(*weights.shape, -1) @ pooled.unsqueeze(2)).squeeze(2)
        # Backward of the softmax over the instances of a case: w (g - sum w g).
        scores = weights * (attended - (weights * attended).sum(dim=1, keepdim=True))
        scores, shares = scores.view(-1, 1), weights.reshape(-1, 1)
        case = torch.arange(len(weights)).repeat_interleave(weights.shape[1])
        rows, hidden = values.flatten(0, 1), score.shape[1]
        to_embed, to_project, to_score = (torch.zeros_like(weight) for weight in (embed, project, score))
        to_embed_bias, to_project_bias = embed.new_zeros(len(embed)), project.new_zeros(len(project))
        for at, wide, mid, both, one, other in _pieces(rows, len(embed), hidden):
            # score = w . (factor tanh sigmoid): first to w, then to what tanh and sigmoid were taken of
            gate = on_gated(one).mul_(sigmoid[at])
            to_score.addmm_(scores[at].T, torch.mul(gate, tanh[at], out=other))
            gate.mul_(torch.mul(scores[at], score, out=other))
            # d tanh(x)/dx = 1 - tanh(x)^2, by the public operator of torch.
            torch.ops.aten.tanh_backward.grad_input(gate, tanh[at], grad_input=both[:, :hidden])
            gate.mul_(tanh[at])
            # d sigmoid(x)/dx = sigmoid(x) (1 - sigmoid(x)); `gate` holds the gradient times sigmoid already.
            torch.addcmul(gate, gate, sigmoid[at], value=-1, out=both[:, hidden:])
            to_project.addmm_(both.T, embedded[at])
            to_project_bias += both.sum(dim=0)
            # embedded: by the pooling and by the scores
            factors = on_embedded(mid)
            back = torch.index_select(pooled, 0, case[at]).mul_(shares[at]).addmm_(both, project).mul_(factors)
            # ReLU: no gradient where the embedding is 0.
            torch.ops.aten.threshold_backward.grad_input(back, embedded[at], 0, grad_input=back)
            to_embed.addmm_(back.T, on_input(wide).mul_(rows[at]))
            to_embed_bias += back.sum(dim=0)
        biased = scores.sum().view(1)
        return None, None, to_embed, to_embed_bias, to_project, to_project_bias, to_score, biased, None
