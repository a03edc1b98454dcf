"""From a modality of a batch to tokens: which cases have it, what a token is, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fusionbench import Bag, ModalitySpec
from fusionbench.nn import fourier_features
from fusionbench_healnet.cutting import is_placed, parts_of, token_width

if TYPE_CHECKING:
    from fusionbench_healnet.options import HealnetOptions, TokenOptions


@dataclass(frozen=True)
class Tokens:
    """Tokens of the cases that have a modality.

    Attributes:
        rows: (row,) int64, positions of those cases in the batch.
        values: (row, token, channel).
        mask: (row, token) bool, True = real.
    """

    rows: Tensor
    values: Tensor
    mask: Tensor


def positions_of(bag: Bag, mask: Tensor) -> Tensor:
    """Where each token stands, from -1 to 1 along each axis; an axis of one position is at -1.

    A bag with `shape` is placed by its coords (indices along the axes), or row-major where it has none; one without
    by the order of its real tokens, so that padding does not move them.

    Args:
        bag: of the cases of `mask`.
        mask: (case, token) bool.

    Returns:
        (case, token, axis) float32.
    """
    if bag.shape is None:
        index, extent = (mask.long().cumsum(dim=1) - 1).unsqueeze(-1), mask.sum(dim=1)[:, None, None]
    else:
        index, extent = _row_major(mask, bag.shape) if bag.coords is None else bag.coords, bag.shape[:, None]
    return index.float() * (2.0 / (extent - 1).clamp(min=1)) - 1.0


def _row_major(mask: Tensor, shape: Tensor) -> Tensor:
    """(case, token, axis) indices of grids whose extents are (case, axis)."""
    stride = shape.flip(1).cumprod(dim=1).flip(1) // shape.clamp(min=1)
    steps = torch.arange(mask.shape[1], device=mask.device)[None, :, None]
    return steps // stride[:, None].clamp(min=1) % shape[:, None].clamp(min=1)


class FeatureEmbedding(nn.Module):
    """(case, 1, feature) -> (case, feature, channel): each feature's own direction, scaled by its value, plus a bias.

    Source: Gorishniy et al. 2021 (feature tokeniser), with their uniform(+-1/sqrt(channel)) start.
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        bound = dim**-0.5
        self.weight = nn.Parameter(torch.empty(features, dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(features, dim).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        return values.transpose(1, 2) * self.weight + self.bias


class GroupEmbedding(nn.Module):
    """(case, 1, feature) -> (case, group, channel): a linear map of each group's columns."""

    def __init__(self, groups: Sequence[Sequence[int]], dim: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(len(columns), dim) for columns in groups)
        for i, columns in enumerate(groups):
            self.register_buffer(f"columns_{i}", torch.tensor(columns), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        parts = (values[:, 0, self.get_buffer(f"columns_{i}")] for i in range(len(self.projections)))
        return torch.stack([f(x) for f, x in zip(self.projections, parts, strict=True)], dim=1)


class Tokenizer(nn.Module):
    """A modality's bag -> Tokens.

    Attributes:
        dim: channels of a token.
        count: tokens of every case, or None where it differs between cases.
        parts: of a vector that is cut, each token's name with its columns.
    """

    def __init__(self, spec: ModalitySpec, options: HealnetOptions | TokenOptions) -> None:
        super().__init__()
        self.bands, self.max_frequency = options.bands, options.max_frequency
        self.encode, self.dim = is_placed(spec, options), token_width(spec, options)
        self.count = 1 if spec.kind == "vector" else None
        self.parts = parts_of(spec, options)
        self.embed = self._cut(spec, options) if self.parts else nn.Identity()

    def _cut(self, spec: ModalitySpec, options: HealnetOptions | TokenOptions) -> nn.Module:
        self.count = len(self.parts)
        if options.tokens == "group":
            return GroupEmbedding(list(self.parts.values()), options.token_dim)
        # An encoded index says which feature it is, as in the repository; no embedding is needed then.
        return _Transpose() if self.encode else FeatureEmbedding(spec.dim, options.token_dim)

    def forward(self, bag: Bag) -> Tokens:
        rows = bag.rows.to(bag.values.device, non_blocking=True)
        bag = bag if bag.complete else _pick(bag, rows)
        values, mask = self.embed(bag.values), bag.mask
        if self.count is not None:
            mask = mask.any(dim=1, keepdim=True).expand(-1, self.count)
        if self.encode:
            where = fourier_features(positions_of(bag, mask), self.bands, self.max_frequency)
            values = torch.cat([values, where], dim=-1)
        return Tokens(rows, values, mask)


def _pick(bag: Bag, rows: Tensor) -> Bag:
    """The cases at `rows`."""
    coords, shape = (None if x is None else x[rows] for x in (bag.coords, bag.shape))
    return Bag(bag.values[rows], bag.mask[rows], coords, shape)


class _Transpose(nn.Module):
    """(case, 1, feature) -> (case, feature, 1)."""

    def forward(self, values: Tensor) -> Tensor:
        return values.transpose(1, 2)
