"""Means over the parts of each case, where a module predicts for several sub-bags of it."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_of_parts(values: Tensor, parts: Tensor, cases: int) -> Tensor:
    """(part, ...) -> (case, ...): the mean of the parts of each case.

    Args:
        parts: (part,) int64, position of the case that each part belongs to; every case has at least one.
        cases: of the batch.
    """
    own = torch.arange(cases, device=parts.device).unsqueeze(1) == parts  # (case, part)
    of_case = own.reshape(*own.shape, *(1,) * (values.ndim - 1))
    # A masked sum, not `index_add`, whose order is not fixed on CUDA.
    return torch.where(of_case, values, 0.0).sum(dim=1) / own.sum(dim=1).reshape(-1, *(1,) * (values.ndim - 1))


def parts_beside(parts: Tensor) -> Tensor:
    """(part,) int64: how many parts the case of each part has."""
    return (parts.unsqueeze(1) == parts).sum(dim=1)
