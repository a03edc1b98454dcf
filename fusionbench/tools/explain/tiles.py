"""Tiles: the squares that a bag's instances cover on their slides, and the slide images behind them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusionbench.core.errors import DataError
from fusionbench.core.types import Piece
from fusionbench.data.slides import Thumbnail, opened, square_of, thumbnail_of
from fusionbench.tools.explain.loaded_case import LoadedCase

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEATURE_SUFFIXES = {".h5", ".npy", ".npz", ".pt", ".csv", ".txt", ".json"}
"""Suffixes of files that may be named like a slide and are no image of it."""


@dataclass(frozen=True, eq=False)
class SlideTiles:
    """The instances of one slide, of one grid, or of a bag whose source names no slides.

    Attributes:
        slide: name of the slide; empty where there is none.
        items: (tile,) indices of the instances in the bag.
        corners: (tile, 2) x to the right and y down, of the upper left corner; pixels of level 0 on a slide, positions
            in a grid.
        side: of a tile, in the units of `corners`.
        image: file of the slide; None where none was found.
        thumbnail: of the whole slide; None without an image.
    """

    slide: str
    items: NDArray[np.intp]
    corners: Floats
    side: float
    image: Path | None = None
    thumbnail: Thumbnail | None = None


def slide_tiles(loaded: LoadedCase, modality: str, slides: Path | None) -> tuple[list[SlideTiles], list[str]]:
    """The tiles of a modality, slide by slide, and notes on what cannot be drawn.

    Args:
        slides: a folder of slide images, searched with its subfolders.

    Raises:
        DataError: a slide image cannot be read, or is of another slide.
    """
    spec, bag = loaded.predictor.preprocessor.specs[modality], loaded.raw[modality]
    if spec.kind == "vector":
        return [], []
    if bag.coords is None:
        return [], [f"No heatmap of {modality}: its instances have no coordinates"]
    if bag.coords.shape[1] != 2:
        return [], [f"No heatmap of {modality}: its instances have {bag.coords.shape[1]} coordinates instead of 2"]
    coords = bag.coords.astype(np.float64)
    if spec.kind == "grid":
        # Positions of a grid are (row, column), a corner is (x, y).
        return [SlideTiles("", np.arange(len(coords)), coords[:, ::-1], 1.0)], []
    pieces = loaded.cohort.modalities[modality].pieces(loaded.case.refs[modality]) or [Piece("", len(coords))]
    if sum(piece.count for piece in pieces) != len(coords):
        raise DataError(f"case {loaded.case.id!r}: the files of {modality!r} have changed since they were read")
    tiles = list(_by_slide(pieces, coords))
    if slides is None:
        return tiles, [f"{modality}: drawn on the grid of tiles, since no folder of slides was given"]
    images = _images(slides)
    tiles = [_with_image(one, images) for one in tiles]
    lacking = [one.slide for one in tiles if one.image is None]
    return tiles, [
        f"{modality}: no image of slide {slide!r} in {slides}; drawn on the grid of tiles" for slide in lacking
    ]


def _by_slide(pieces: Sequence[Piece], coords: Floats) -> Iterator[SlideTiles]:
    start = 0
    for piece in pieces:
        items = np.arange(start, start + piece.count)
        start += piece.count
        yield SlideTiles(piece.name, items, coords[items], piece.side or smallest_step(coords[items]))


def smallest_step(corners: Floats) -> float:
    """The smallest distance between two of the (tile, 2) corners along an axis; 1 where all of them are equal."""
    steps = np.concatenate([np.diff(np.unique(corners[:, axis])) for axis in (0, 1)])
    return float(steps.min()) if steps.size else 1.0


def _images(folder: Path) -> Mapping[str, Path]:
    """Name without suffix to path of every file below that may be a slide; the first where a name is repeated."""
    images: dict[str, Path] = {}
    for parent, subfolders, names in os.walk(folder):
        subfolders.sort()  # in place, which is how os.walk takes an order
        for name in sorted(names):
            path = Path(parent) / name
            if path.suffix.lower() not in FEATURE_SUFFIXES and not name.startswith("."):
                images.setdefault(path.stem, path)
    return images


def _with_image(tiles: SlideTiles, images: Mapping[str, Path]) -> SlideTiles:
    path = images.get(tiles.slide)
    if path is None:
        return tiles
    with opened(path) as slide:
        width, height = slide.dimensions
        x, y = tiles.corners.max(axis=0)
        if x >= width or y >= height:
            raise DataError(
                f"{path}: {width} x {height} px, but a tile of {tiles.slide!r} is at {x:.0f}, {y:.0f}: the image is of "
                "another slide with that name, or the coordinates are not of level 0"
            )
        return replace(tiles, image=path, thumbnail=thumbnail_of(slide))


def tile_images(tiles: SlideTiles, items: Sequence[int], pixels: int) -> list[NDArray[np.uint8]]:
    """(row, column, 3) RGB images of some tiles, read from the slide; none without a slide image.

    Args:
        items: indices of the instances in the bag.
        pixels: of a side, at most.
    """
    if tiles.image is None:
        return []
    corner_of = dict(zip(tiles.items.tolist(), tiles.corners, strict=True))
    with opened(tiles.image) as slide:
        return [square_of(slide, round(x), round(y), tiles.side, pixels) for x, y in map(corner_of.__getitem__, items)]
