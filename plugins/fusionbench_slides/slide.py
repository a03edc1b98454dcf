"""A slide as OpenSlide opens it: what it says of itself, and its pixels on a plain background."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench import DataError
from fusionbench_slides.resolution import Said

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Colour = tuple[int, int, int]

LONGEST = 2048
"""Pixels of the longer side of a thumbnail, at most."""
BLOCK = 1024
"""Pixels a side that are read at once for a thumbnail, so that a slide without small levels needs no more memory."""
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Facts:
    """What is known of a slide once it is open.

    Attributes:
        size: width, height of level 0.
        level_sizes, level_downsamples: of each level, from the finest.
        background: red, green, blue where nothing was scanned.
    """

    path: Path
    vendor: str
    size: tuple[int, int]
    level_sizes: tuple[tuple[int, int], ...]
    level_downsamples: tuple[float, ...]
    said: Said
    background: Colour


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """(row, column, 3) uint8, and pixels of level 0 per pixel of it."""

    rgb: NDArray[np.uint8]
    downsample: float


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The slide, and whatever OpenSlide says of it as a DataError.

    Raises:
        DataError: it cannot be opened, or breaks off while it is read.
    """
    import openslide

    with failing_as_data(path), openslide.OpenSlide(str(path)) as slide:
        yield slide


@contextmanager
def failing_as_data(path: Path) -> Iterator[None]:
    """What OpenSlide raises inside as a DataError that names the slide."""
    import openslide

    try:
        yield
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise DataError(f"{path}: not a slide (OpenSlide knows no such format)") from error
    except openslide.OpenSlideError as error:
        raise DataError(f"{path}: cannot be read as a slide ({error}); copy it again from its source") from error


def facts_of(path: Path, slide: Any) -> Facts:
    """What the open slide says."""
    properties: Mapping[str, str] = slide.properties
    sides = [_number(properties, f"openslide.mpp-{axis}") for axis in "xy"]
    known = [mpp for mpp in sides if mpp is not None]
    said = Said(sum(known) / len(known) if known else None, _number(properties, "openslide.objective-power"))
    colour = properties.get("openslide.background-color")
    background = WHITE if colour is None else (int(colour[0:2], 16), int(colour[2:4], 16), int(colour[4:6], 16))
    return Facts(
        path,
        properties.get("openslide.vendor", ""),
        slide.dimensions,
        slide.level_dimensions,
        slide.level_downsamples,
        said,
        background,
    )


def _number(properties: Mapping[str, str], key: str) -> float | None:
    """A positive number, or None where the property is absent or something else."""
    try:
        number = float(properties.get(key, ""))
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None


def flattened(region: Any, background: Colour) -> Any:
    """An RGBA image of OpenSlide as RGB; what was not scanned is transparent and takes the background."""
    from PIL import Image

    if region.getchannel("A").getextrema()[0] == 255:
        return region.convert("RGB")
    flat = Image.new("RGB", region.size, background)
    flat.paste(region, mask=region.getchannel("A"))
    return flat


def thumbnail_of(slide: Any, facts: Facts) -> Thumbnail:
    """A small picture of the whole slide, read block by block and averaged over whole pixels of one level."""
    wanted = max(1.0, max(facts.size) / LONGEST)
    level = max(i for i, downsample in enumerate(facts.level_downsamples) if downsample <= wanted)
    factor = math.ceil(wanted / facts.level_downsamples[level])
    width, height = facts.level_sizes[level]
    rgb = np.empty((-(-height // factor), -(-width // factor), 3), dtype=np.uint8)
    side = max(BLOCK // factor, 1) * factor
    for y in range(0, height, side):
        for x in range(0, width, side):
            size = (min(side, width - x), min(side, height - y))
            corner = tuple(round(at * facts.level_downsamples[level]) for at in (x, y))
            block = np.asarray(flattened(slide.read_region(corner, level, size), facts.background).reduce(factor))
            rgb[y // factor : y // factor + block.shape[0], x // factor : x // factor + block.shape[1]] = block
    return Thumbnail(rgb, factor * facts.level_downsamples[level])
