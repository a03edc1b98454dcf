"""Dropout whose random numbers cost less than the layer in front of it.

torch draws a double for every decision, one after the other; on two CPU cores that takes about as long as the matrix
product that made the activations of a bag. Sixteen bits decide as well.
"""

from __future__ import annotations

from collections.abc import Callable

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
    if not drawn_in_words(x, x.numel()):
        return F.dropout(x, rate)
    return x * Draws(rate).stream()(x.new_empty(x.shape))


def drawn_in_words(like: Tensor, elements: int) -> bool:
    """Whether `dropout` uses `Draws` for that many elements where `like` lies."""
    return like.device.type == "cpu" and elements >= _FEW and not torch.compiler.is_compiling()


class Draws:
    """What one dropout keeps of a large input, told anew by each `stream` and stored nowhere."""

    def __init__(self, rate: float) -> None:
        """Draw, at a rate of 0 nothing."""
        # A rate close to 1 must not drop everything, or the scale below would be infinite.
        self._below = min(round(rate * _STEPS), _STEPS - 1)
        # torch's generator makes about a word in 8 ns, this one in 1; torch's seeds it, so that seeds go on to decide
        self._seed = torch.empty(4, dtype=torch.int64).random_().tolist() if rate else None

    def stream(self) -> Callable[[Tensor], Tensor]:
        """What fills tensors, and gives them back: 0 where it is dropped, otherwise what makes up for that.

        Pieces of the input come in their order; each but the last has a multiple of four elements.
        """
        if self._seed is None:
            return lambda room: room.fill_(1.0)
        words = np.random.SFC64(self._seed)

        def fill(room: Tensor) -> Tensor:
            drawn = torch.from_numpy(words.random_raw(-(-room.numel() // 4)).view(np.int16))
            # straight to the type of `room`: by way of bool it would take five times as long
            torch.ge(drawn[: room.numel()].view(room.shape), self._below - _STEPS // 2, out=room)
            # By the rounded rate, so that the mean is exact.
            return room.mul_(_STEPS / (_STEPS - self._below))

        return fill


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` by `dropout`."""

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training else x
