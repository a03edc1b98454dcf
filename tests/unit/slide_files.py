"""Slides that tests make: tiled pyramids in which the colour of a pixel says where it lies."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

BLOCK = 16
"""Pixels of level 0 a side that share a colour: a level up to 16 times smaller has the same colours, unmixed."""
TIFF_TILE = 256
Box = tuple[int, int, int, int]


def pattern(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(row, column, 3): the colour of each pixel of level 0, by x (column,) and y (row,); up to 65,536 a side."""
    across, down = x // BLOCK, y // BLOCK
    rgb = np.empty((len(y), len(x), 3), dtype=np.uint8)
    rgb[..., 0] = (across & 255)[None, :]
    rgb[..., 1] = (down & 255)[:, None]
    rgb[..., 2] = (across >> 8)[None, :] | ((down >> 8) << 4)[:, None]
    return rgb


def seen_at(x: int, y: int, tile: int, downsample: int) -> NDArray[np.uint8]:
    """(row, column, 3): the tile whose corner lies at (x, y) of level 0.

    A pixel of it covers one colour, so that its mean is that colour, exactly.
    """
    assert BLOCK % downsample == x % downsample == y % downsample == 0, "a pixel would mix colours"
    axis = np.arange(tile) * downsample
    return pattern(x + axis, y + axis)


def write_pyramid(
    path: Path,
    size: tuple[int, int],
    boxes: Sequence[Box],
    *,
    downsamples: Sequence[int] = (1,),
    mpp: float | None = None,
) -> Path:
    """A tiled TIFF of `size` (width, height): the pattern inside the boxes (x, y, x end, y end), white elsewhere.

    Args:
        boxes: corners at multiples of 4,096 or of the sides of a small slide keep levels free of mixed colours.
        mpp: micrometres per pixel that the file says; None = it does not.
    """
    resolution = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for level, downsample in enumerate(downsamples):
            shape = (-(-size[1] // downsample), -(-size[0] // downsample), 3)
            tiff.write(
                _tiles(shape, boxes, downsample),
                shape=shape,
                dtype=np.uint8,
                tile=(TIFF_TILE, TIFF_TILE),
                photometric="rgb",
                compression="zlib",
                subfiletype=int(level > 0),
                metadata=None,
                **resolution,
            )
    return path


def _tiles(shape: tuple[int, ...], boxes: Sequence[Box], downsample: int) -> Iterator[bytes]:
    blank = np.full((TIFF_TILE, TIFF_TILE, 3), 255, dtype=np.uint8)
    white = zlib.compress(blank, 1)
    side = TIFF_TILE * downsample
    for top in range(0, shape[0] * downsample, side):
        for left in range(0, shape[1] * downsample, side):
            here = [b for b in boxes if b[0] < left + side and left < b[2] and b[1] < top + side and top < b[3]]
            if not here:
                yield white
                continue
            x, y = (corner + np.arange(TIFF_TILE) * downsample for corner in (left, top))
            inside = np.zeros((TIFF_TILE, TIFF_TILE), dtype=bool)
            for a, b, c, d in here:
                inside |= ((y >= b) & (y < d))[:, None] & ((x >= a) & (x < c))
            tile = pattern(x, y)
            yield zlib.compress(tile if inside.all() else np.where(inside[..., None], tile, blank), 1)
