"""What is known of a slide before its tiles are read: resolution, tissue, and the tiles worth reading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench import DataError
from fusionbench.data.slides import Thumbnail, opened, thumbnail_of
from fusionbench_slides.grid import Grid
from fusionbench_slides.resolution import Resolution, scale_for
from fusionbench_slides.slide import Facts, facts_of
from fusionbench_slides.tissue import Tissue, find_tissue, shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Log = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """How slides are cut.

    Attributes:
        tile: pixels a side.
        min_tissue: share of a tile that has to be tissue, 0..1.
        slide_mpp: micrometres per pixel of level 0, in place of what slides say; None = what they say.
    """

    resolution: Resolution
    tile: int = 256
    min_tissue: float = 0.5
    slide_mpp: float | None = None

    def __str__(self) -> str:
        return f"--tile {self.tile} {self.resolution} --min-tissue {self.min_tissue:g}"


@dataclass(frozen=True, eq=False)
class Tiling:
    """The tiles of a slide: `coords` (tile, 2) x, y at level 0 of those that are kept, in the order of `grid`."""

    facts: Facts
    thumbnail: Thumbnail
    grid: Grid
    tissue: Tissue
    coords: NDArray[np.int64]

    @property
    def doubt(self) -> str:
        """Why there may be too few tiles; empty where there are some."""
        if len(self.coords):
            return ""
        if not self.grid.columns * self.grid.rows:
            width, height = self.facts.size
            return f"no tile: {width} x {height} px is smaller than one tile of {self.grid.step:g} px"
        count = self.grid.columns * self.grid.rows
        return f"no tile: none of {count} has tissue enough ({self.tissue.share:.1%} of the slide is tissue)"


def tiling_of(path: Path, wanted: Wanted, log: Log) -> Tiling:
    """Open a slide and lay its grid.

    Raises:
        DataError: it cannot be read, or its resolution is not known.
    """
    with opened(path) as slide:
        facts = _facts(path, slide, wanted)
        log(_formatted(facts))
        grid = _grid(facts, wanted)
        scale = grid.scale
        mpp = "unknown" if scale.mpp is None else f"{scale.mpp:.4g}"
        log(f"{wanted.resolution}: level {scale.level}, rescaled by {scale.rescale:.4g}, micrometres per pixel {mpp}")
        thumbnail = thumbnail_of(slide)
    tissue = find_tissue(thumbnail.rgb, thumbnail.downsample, grid.step)
    log(f"tissue: {tissue.share:.1%} of the slide, from a saturation of {tissue.threshold} on")
    coords = grid.coords()
    kept = coords[shares(tissue, grid, coords) >= wanted.min_tissue] if len(coords) else coords
    log(f"tiles: {len(kept)} of {len(coords)} with at least {wanted.min_tissue:.0%} tissue")
    return Tiling(facts, thumbnail, grid, tissue, kept)


def _facts(path: Path, slide: Any, wanted: Wanted) -> Facts:
    facts = facts_of(path, slide)
    if wanted.slide_mpp is None:
        return facts
    return replace(facts, said=replace(facts.said, mpp=wanted.slide_mpp, power=None))


def _grid(facts: Facts, wanted: Wanted) -> Grid:
    try:
        scale = scale_for(wanted.resolution, facts.said, facts.level_downsamples)
    except DataError as error:
        raise DataError(f"{facts.path}: {error}") from error
    return Grid(*facts.size, wanted.tile, scale)


def _formatted(facts: Facts) -> str:
    levels = ", ".join(f"{downsample:.4g}" for downsample in facts.level_downsamples)
    width, height = facts.size
    mpp = "unknown" if facts.said.mpp is None else f"{facts.said.mpp:.4g}"
    power = "unknown" if facts.said.power is None else f"{facts.said.power:g}x"
    return (
        f"{facts.path}: {facts.vendor}, {width} x {height} px, micrometres per pixel {mpp}, magnification {power}, "
        f"levels {levels}"
    )
