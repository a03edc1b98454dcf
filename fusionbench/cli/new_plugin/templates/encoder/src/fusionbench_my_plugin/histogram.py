"""The encoder `my-plugin`: a histogram of colours."""

from __future__ import annotations

import torch
from fusionbench import Encoder, Options
from pydantic import Field
from torch import Tensor
from torch.nn import functional


class HistogramOptions(Options):
    """What a user may set, as `--encoder "my-plugin[bins=16]"`.

    Attributes:
        bins: shades of each colour, of equal width.
    """

    bins: int = Field(8, ge=1, le=256)  # write the source of a default here: the paper's, or what settled it


class Histogram(Encoder):
    """Share of the pixels of a tile in each shade of red, green and blue: three times `bins` numbers."""

    name = "my-plugin"
    version = "1"  # written into every file of features: count it up when they change
    Options = HistogramOptions
    options: HistogramOptions

    def __call__(self, tiles: Tensor) -> Tensor:
        """(tile, row, column, 3) uint8 to (tile, feature)."""
        bins = self.options.bins
        shades = tiles.to(self.device).flatten(1, 2).long() * bins // 256  # tile pixel colour
        shares = [functional.one_hot(shades[..., colour], bins).float().mean(dim=1) for colour in range(3)]
        return torch.cat(shares, dim=1)
