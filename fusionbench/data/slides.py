"""Whole-slide images, opened by OpenSlide: thumbnails and square tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench.core.errors import DataError, file_problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Colour = tuple[int, int, int]

LONGEST = 2048
"""Pixels of the longer side of a thumbnail, at most."""
BLOCK = 1024
"""Pixels a side that are read at once for a thumbnail, so that a slide without small levels needs no more memory."""
WHITE = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """A small picture of a whole slide.

    Attributes:
        rgb: (row, column, 3).
        downsample: pixels of level 0 per pixel of the thumbnail.
    """

    rgb: NDArray[np.uint8]
    downsample: float


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Context manager: the opened slide; errors of OpenSlide inside become DataErrors.

    Raises:
        DataError: it cannot be opened or read.
    """
    import openslide

    with failing_as_data(path), openslide.OpenSlide(str(path)) as slide:
        yield slide


@contextmanager
def failing_as_data(path: Path) -> Iterator[None]:
    """Context manager: errors of OpenSlide inside become DataErrors that name the slide."""
    import openslide

    try:
        yield
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise DataError(f"{path}: not a slide (OpenSlide knows no such format)") from error
    except openslide.OpenSlideError as error:
        raise DataError(f"{path}: cannot be read as a slide ({error}); copy it again from its source") from error


def unreadable(path: Path, error: Exception, remedy: str = "write the file again") -> DataError:
    """The error for a feature file that cannot be read.

    HDF5 refuses files that it cannot lock: nothing is wrong with one that another process has open for writing.

    Args:
        remedy: what to do where the file itself is at fault.
    """
    if isinstance(error, PermissionError):
        return DataError(file_problem(path, error, remedy))
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, BlockingIOError) or "already open for write" in reason:
        remedy = "another process has it open for writing: wait until that has ended"
    elif "unable to lock file" in reason:
        remedy = "its file system knows no locks: set HDF5_USE_FILE_LOCKING=FALSE"
    return DataError(f"{path}: cannot be read ({reason}); {remedy}")


def background_of(slide: Any) -> Colour:
    """The slide's colour (red, green, blue) where nothing was scanned; white where it does not say."""
    colour = slide.properties.get("openslide.background-color")
    return WHITE if colour is None else (int(colour[0:2], 16), int(colour[2:4], 16), int(colour[4:6], 16))


def flattened(region: Any, background: Colour) -> Any:
    """An RGBA image of OpenSlide as RGB: transparent pixels, which were not scanned, get the background."""
    from PIL import Image

    # Usually nothing is transparent; then the conversion alone is much cheaper.
    if region.getchannel("A").getextrema()[0] == 255:
        return region.convert("RGB")
    flat = Image.new("RGB", region.size, background)
    flat.paste(region, mask=region.getchannel("A"))
    return flat


def thumbnail_of(slide: Any) -> Thumbnail:
    """The thumbnail of a slide, at most `LONGEST` pixels on its longer side."""
    background, downsamples = background_of(slide), slide.level_downsamples
    wanted = max(1.0, max(slide.dimensions) / LONGEST)
    # The coarsest level that is fine enough, reduced by a whole factor: each pixel is a mean of whole pixels.
    level = max(i for i, downsample in enumerate(downsamples) if downsample <= wanted)
    factor = math.ceil(wanted / downsamples[level])
    width, height = slide.level_dimensions[level]
    rgb = np.empty((-(-height // factor), -(-width // factor), 3), dtype=np.uint8)
    side = max(BLOCK // factor, 1) * factor  # whole multiples of the factor, so that blocks meet at pixel edges
    for y in range(0, height, side):
        for x in range(0, width, side):
            size = (min(side, width - x), min(side, height - y))
            corner = tuple(round(at * downsamples[level]) for at in (x, y))  # read_region wants level 0
            block = np.asarray(flattened(slide.read_region(corner, level, size), background).reduce(factor))
            rgb[y // factor : y // factor + block.shape[0], x // factor : x // factor + block.shape[1]] = block
    return Thumbnail(rgb, factor * downsamples[level])


def square_of(slide: Any, x: int, y: int, side: float, pixels: int) -> NDArray[np.uint8]:
    """(row, column, 3): a square of the slide, read from the level that is closest to the wanted size.

    Args:
        x, y, side: of the square, in pixels of level 0.
        pixels: largest side of the result.
    """
    level = slide.get_best_level_for_downsample(max(1.0, side / pixels))
    read = max(1, round(side / slide.level_downsamples[level]))
    region = flattened(slide.read_region((x, y), level, (read, read)), background_of(slide))
    region.thumbnail((pixels, pixels))
    return np.asarray(region)
