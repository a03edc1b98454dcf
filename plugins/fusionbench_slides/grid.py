"""Where tiles lie: non-overlapping squares from the upper left corner, all of them wholly within the slide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusionbench_slides.resolution import Scale

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDING = 1e-6
"""Of a pixel: what floating point may add to the side of a tile."""


@dataclass(frozen=True)
class Grid:
    """The tiles of a slide.

    Attributes:
        width, height: of the slide, pixels of level 0.
        tile: pixels a side, as the encoder sees it.
    """

    width: int
    height: int
    tile: int
    scale: Scale

    @property
    def step(self) -> float:
        """Side of a tile in pixels of level 0; need not be whole."""
        return self.tile * self.scale.downsample

    @property
    def side(self) -> float:
        """Side of a tile in pixels of the level that is read; need not be whole."""
        return self.tile * self.scale.rescale

    @property
    def read(self) -> int:
        """Pixels a side that are read of the level: `side`, rounded up."""
        return math.ceil(self.side - _ROUNDING)

    @property
    def columns(self) -> int:
        return int((self.width + _ROUNDING) // self.step)

    @property
    def rows(self) -> int:
        return int((self.height + _ROUNDING) // self.step)

    def coords(self) -> NDArray[np.int64]:
        """(tile, 2): x, y of each upper left corner at level 0, row by row, rounded to the next pixel."""
        x, y = (np.floor(np.arange(n) * self.step + 0.5).astype(np.int64) for n in (self.columns, self.rows))
        return np.stack([np.tile(x, len(y)), np.repeat(y, len(x))], axis=1)
