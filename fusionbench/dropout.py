"""Dropout whose random numbers cost less than the layer in front of it.

torch draws a double for every decision, one after the other; on two CPU cores that takes about as long as the matrix
product that made the activations of a bag. Sixteen bits decide as well.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FEW = 1 << 14
"""Smaller inputs are left to torch, whose one call is quicker there."""
_STEPS = 1 << 16


def dropout(x: Tensor, rate: float) -> Tensor:
    """Zero each element with probability `rate`, independently, and divide the others by the share that is kept.

    On the CPU and for large inputs, `rate` is rounded to a multiple of 1/65536; the mean is exact all the same.

    Args:
        rate: in [0, 1).
    """
    if rate == 0.0:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling() or x.numel() < _FEW:
        return F.dropout(x, rate)
    return x * _factors(x, rate)


def _factors(x: Tensor, rate: float) -> Tensor:
    """Of the shape and type of `x`: 0 where it is dropped, otherwise what makes up for that."""
    below = min(round(rate * _STEPS), _STEPS - 1)
    # torch's generator makes about a word in 8 ns, this one in 1; torch's seeds it, so that seeds go on to decide
    seed = torch.empty(4, dtype=torch.int64).random_().tolist()
    words = np.random.SFC64(seed).random_raw(-(-x.numel() // 4))
    kept = torch.from_numpy(words.view(np.int16))[: x.numel()].view(x.shape) >= below - _STEPS // 2
    return kept.to(x.dtype).mul_(_STEPS / (_STEPS - below))


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` by `dropout`."""

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training else x
