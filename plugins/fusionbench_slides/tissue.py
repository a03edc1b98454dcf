"""Which parts of a slide are tissue: stained pixels are more saturated than glass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusionbench_slides.grid import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

MEDIAN = 5
"""Pixels a side of the median filter: dust and the noise of JPEG go."""
FAINTEST = 12
"""Saturation (0..255) below which nothing is tissue, whatever Otsu says: glass is below 8, faint fat above 15."""
CLOSING = 2
"""Pixels: gaps up to twice as wide are closed."""
SPECK, HOLE = 0.25, 1.0
"""Tiles: smaller pieces of tissue, and smaller holes in it, go."""


@dataclass(frozen=True, eq=False)
class Tissue:
    """Where tissue was found.

    Attributes:
        mask: (row, column) of the thumbnail.
        downsample: pixels of level 0 per pixel of the thumbnail.
        threshold: saturation, 0..255, from which a pixel counted.
    """

    mask: Mask
    downsample: float
    threshold: int

    @property
    def share(self) -> float:
        """Of the slide, 0..1."""
        return float(self.mask.mean()) if self.mask.size else 0.0


def find_tissue(rgb: NDArray[np.uint8], downsample: float, step: float) -> Tissue:
    """Saturation, median filter, Otsu's threshold, closing, small pieces and holes removed.

    Args:
        rgb: (row, column, 3) thumbnail.
        downsample: pixels of level 0 per pixel of it.
        step: side of a tile, pixels of level 0.
    """
    from scipy import ndimage

    smooth = ndimage.median_filter(saturation(rgb), MEDIAN, mode="nearest")
    threshold = max(otsu(smooth), FAINTEST)
    padded = np.pad(smooth >= threshold, CLOSING, mode="edge")  # or closing would eat from the border
    closed = ndimage.binary_closing(padded, _disk(CLOSING))[CLOSING:-CLOSING, CLOSING:-CLOSING]
    area = (step / downsample) ** 2
    whole = ~without_small(~closed, HOLE * area)
    return Tissue(without_small(whole, SPECK * area), downsample, threshold)


def saturation(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(row, column): 255 * (largest - smallest) / largest of red, green and blue; 0 where all are 0."""
    top, bottom = rgb.max(axis=2), rgb.min(axis=2)
    spread = (top - bottom).astype(np.float32)
    out: NDArray[np.uint8] = np.divide(255 * spread, top, out=np.zeros_like(spread), where=top > 0).astype(np.uint8)
    return out


def otsu(grey: NDArray[np.uint8]) -> int:
    """The value from which pixels are foreground; the middle where several part the classes equally well.

    Source: Otsu 1979: the threshold that maximises the variance between both sides.
    """
    counts = np.bincount(grey.ravel(), minlength=256).astype(np.float64)
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * np.arange(256))
    apart = np.divide(sums[:-1], below, out=np.zeros(255), where=below > 0) - np.divide(
        sums[-1] - sums[:-1], above, out=np.zeros(255), where=above > 0
    )
    between = below * above * apart**2
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return int(best.mean()) + 1


def without_small(mask: Mask, area: float) -> Mask:
    """The mask without pieces (joined by edge or corner) of fewer pixels than `area`."""
    from scipy import ndimage

    pieces, _ = ndimage.label(mask, np.ones((3, 3)))
    large = np.bincount(pieces.ravel()) >= area
    large[0] = False
    kept: Mask = large[pieces]
    return kept


def shares(tissue: Tissue, grid: Grid, coords: NDArray[np.int64]) -> NDArray[np.float64]:
    """(tile,): share of each tile that is tissue, 0..1, exact for the mask also where tiles cut its pixels."""
    x, y = (coords / tissue.downsample).T
    side = grid.step / tissue.downsample
    sums = np.pad(np.cumsum(np.cumsum(tissue.mask, axis=0, dtype=np.float64), axis=1), ((1, 0), (1, 0)))
    inside = (
        _between(sums, y + side, x + side) - _between(sums, y, x + side) - _between(sums, y + side, x)
    ) + _between(sums, y, x)
    out: NDArray[np.float64] = np.clip(inside / side**2, 0, 1)
    return out


def _between(sums: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The integral of a mask up to (y, x): its sums are bilinear between the corners of pixels."""
    rows, columns = (size - 1 for size in sums.shape)
    y, x = np.clip(y, 0, rows), np.clip(x, 0, columns)
    top, left = np.minimum(y.astype(np.int64), rows - 1), np.minimum(x.astype(np.int64), columns - 1)
    v, u = y - top, x - left
    upper = sums[top, left] * (1 - u) + sums[top, left + 1] * u
    lower = sums[top + 1, left] * (1 - u) + sums[top + 1, left + 1] * u
    between: NDArray[np.float64] = upper * (1 - v) + lower * v
    return between


def _disk(radius: int) -> Mask:
    axis = np.arange(-radius, radius + 1)
    disk: Mask = axis[:, None] ** 2 + axis**2 <= radius**2
    return disk
