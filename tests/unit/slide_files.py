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


def seen_at(x: int, y: int, tile: int, downsample: int) -> NDArray[np.float64]:
    """(row, column, 3): the tile whose corner lies at (x, y) of level 0, each pixel the mean over what it covers."""
    axis = np.arange(tile * downsample)
    full = pattern(x + axis, y + axis).astype(np.float64)
    return full.reshape(tile, downsample, tile, downsample, 3).mean(axis=(1, 3))


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
    white = zlib.compress(np.full((TIFF_TILE, TIFF_TILE, 3), 255, dtype=np.uint8).tobytes(), 1)
    for row in range(0, shape[0], TIFF_TILE):
        for column in range(0, shape[1], TIFF_TILE):
            x, y = ((corner + np.arange(TIFF_TILE)) * downsample for corner in (column, row))
            inside = np.zeros((TIFF_TILE, TIFF_TILE), dtype=bool)
            for left, top, right, bottom in boxes:
                inside |= ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))
            if not inside.any():
                yield white
                continue
            yield zlib.compress(np.where(inside[..., None], pattern(x, y), np.uint8(255)).tobytes(), 1)
