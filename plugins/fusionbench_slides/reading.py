"""What a reading process does: open a slide once, read tiles of it into memory that both sides share.

This module is all that such a process imports of the plugin; it needs neither torch nor scipy.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench import end_with_parent
from fusionbench.data.slides import failing_as_data, flattened, opened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusionbench.data.slides import Colour


@dataclass(frozen=True)
class View:
    """How tiles of one slide are read.

    Attributes:
        read: pixels a side that are read of the level.
        side: pixels a side of the level that a tile covers, at most `read`; need not be whole.
        tile: pixels a side of the tile.
    """

    path: Path
    level: int
    read: int
    side: float
    tile: int
    background: Colour


@dataclass(frozen=True, eq=False)
class Job:
    """Tiles for one batch: coords (tile, 2) x, y at level 0, and the slot of the shared memory they go to."""

    view: View
    coords: NDArray[np.int64]
    slot: int


class _Process:
    """What a reading process keeps between jobs."""

    slots: NDArray[np.uint32]
    slide: tuple[Path, ExitStack, Any] | None = None


def begin(memory: Any, shape: tuple[int, int, int, int]) -> None:
    """Called once in a new process: the shared memory as (slot, tile, row, column) RGBA pixels."""
    end_with_parent()
    _Process.slots = np.frombuffer(memory, dtype=np.uint32).reshape(shape)


def read(job: Job) -> int:
    """Fill the first tiles of the job's slot; gives their number.

    Raises:
        DataError: the slide breaks off.
    """
    slide = _open(job.view.path)
    with failing_as_data(job.view.path):
        for tile, (x, y) in zip(_Process.slots[job.slot], job.coords.tolist(), strict=False):
            read_tile(slide, job.view, x, y, tile)
    return len(job.coords)


def _open(path: Path) -> Any:
    """The slide, kept open for the next job; opened anew where the last one was another, or broke off."""
    if _Process.slide is None or _Process.slide[0] != path:
        if _Process.slide is not None:
            _Process.slide[1].close()
        stack = ExitStack()
        _Process.slide = path, stack, stack.enter_context(opened(path))
    return _Process.slide[2]


def read_tile(slide: Any, view: View, x: int, y: int, into: NDArray[np.uint32]) -> None:
    """The tile whose upper left corner lies at (x, y) of level 0, into (row, column) RGBA pixels, all opaque."""
    from PIL import Image

    region = slide.read_region((x, y), view.level, (view.read, view.read))
    if view.side == view.tile:
        into[:] = _pixels(region)
        if is_opaque(into):
            return
    flat = flattened(region, view.background)
    if view.side != view.tile:
        # The mean over the pixels that a pixel of the tile covers; between pixels where it covers less than one.
        how = Image.Resampling.BOX if view.side > view.tile else Image.Resampling.BILINEAR
        flat = flat.resize((view.tile, view.tile), how, box=(0, 0, view.side, view.side))
    into[:] = _pixels(flat.convert("RGBA"))


def is_opaque(pixels: NDArray[np.uint32]) -> bool:
    """Whether all RGBA pixels were scanned: OpenSlide leaves others transparent."""
    return int(np.bitwise_and.reduce(pixels, axis=None)).to_bytes(4, sys.byteorder)[3] == 255


def _pixels(image: Any) -> NDArray[np.uint32]:
    """(row, column): the four bytes of a pixel as one number, which takes a third of the time of three bytes each."""
    return np.frombuffer(image.tobytes(), dtype=np.uint32).reshape(image.height, image.width)
