"""Where instances lie: the pieces of a bag with the squares that its instances cover, and slide images behind them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusionbench.core.errors import DataError
from fusionbench.core.types import Piece
from fusionbench.data.slides import Thumbnail, opened, square_of, thumbnail_of
from fusionbench.tools.explain.loaded_case import Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEATURES = {".h5", ".npy", ".npz", ".pt", ".csv", ".txt", ".json"}
"""Endings of files that are called like a slide and are none."""


@dataclass(frozen=True, eq=False)
class Layer:
    """The instances of one slide (or of a bag that says nothing of slides).

    Attributes:
        name: of the slide; empty where there is none.
        items: (tile,) places in the bag.
        corners: (tile, 2) x, y of the upper left corner, in the units of `side`.
        image: the slide's file, where it is at hand.
    """

    name: str
    items: NDArray[np.intp]
    corners: Floats
    side: float
    image: Path | None = None
    thumbnail: Thumbnail | None = None


def layers(subject: Subject, name: str, slides: Path | None) -> tuple[list[Layer], list[str]]:
    """The slides of a modality, and lines on what is not drawn.

    Raises:
        DataError: a slide image cannot be read.
    """
    spec, bag = subject.predictor.preprocessor.specs[name], subject.raw[name]
    if spec.kind == "vector":
        return [], []
    if bag.coords is None:
        return [], [f"no heatmap of {name}: its instances have no coordinates"]
    if bag.coords.shape[1] != 2:
        return [], [f"no heatmap of {name}: its instances have {bag.coords.shape[1]} coordinates, and a picture has 2"]
    coords = bag.coords.astype(np.float64)
    if spec.kind == "grid":
        return [Layer("", np.arange(len(coords)), coords[:, ::-1], 1.0)], []
    pieces = subject.cohort.modalities[name].pieces(subject.case.refs[name])
    pieces = pieces or [Piece("", len(coords))]
    if sum(piece.count for piece in pieces) != len(coords):
        raise DataError(f"case {subject.case.id!r}: the files of {name!r} have changed since they were read")
    made = list(_cut(pieces, coords))
    if slides is None:
        return made, [f"{name}: drawn on the grid of tiles, since no folder of slides was given"]
    found = _images(slides)
    shown = [_with_image(layer, found) for layer in made]
    lacking = [layer.name for layer in shown if layer.image is None]
    notes = [f"{name}: no image of slide {slide!r} in {slides}; drawn on the grid of tiles" for slide in lacking]
    return shown, notes


def _cut(pieces: Sequence[Piece], coords: Floats) -> Iterator[Layer]:
    start = 0
    for piece in pieces:
        items = np.arange(start, start + piece.count)
        start += piece.count
        yield Layer(piece.name, items, coords[items], piece.side or smallest_step(coords[items]))


def smallest_step(corners: Floats) -> float:
    """The smallest distance between two corners along an axis; 1 where there is none."""
    steps = np.concatenate([np.diff(np.unique(corners[:, axis])) for axis in (0, 1)])
    return float(steps.min()) if steps.size else 1.0


def _images(folder: Path) -> Mapping[str, Path]:
    """Name to file of everything below that may be a slide."""
    found: dict[str, Path] = {}
    for at, below, names in os.walk(folder):
        below.sort()
        for name in sorted(names):
            path = Path(at) / name
            if path.suffix.lower() not in FEATURES and not name.startswith("."):
                found.setdefault(path.stem, path)
    return found


def _with_image(layer: Layer, found: Mapping[str, Path]) -> Layer:
    path = found.get(layer.name)
    if path is None:
        return layer
    with opened(path) as slide:
        width, height = slide.dimensions
        far = layer.corners.max(axis=0)
        if far[0] >= width or far[1] >= height:
            raise DataError(
                f"{path}: {width} x {height} px, and a tile of {layer.name!r} is at {far[0]:.0f}, {far[1]:.0f}: it is "
                "another slide of that name, or the coordinates are not of level 0"
            )
        return Layer(layer.name, layer.items, layer.corners, layer.side, path, thumbnail_of(slide))


def squares(layer: Layer, items: Sequence[int], pixels: int) -> list[NDArray[np.uint8]]:
    """(row, column, 3) pictures of the tiles at these places of the bag, from the slide."""
    if layer.image is None:
        return []
    place = {int(item): i for i, item in enumerate(layer.items)}
    with opened(layer.image) as slide:
        corners = [layer.corners[place[item]] for item in items]
        return [square_of(slide, round(x), round(y), layer.side, pixels) for x, y in corners]
