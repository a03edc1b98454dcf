"""What a slide says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionbench.data.slides import background_of
from fusionbench_slides.resolution import Said

if TYPE_CHECKING:
    from fusionbench.data.slides import Colour


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


def facts_of(path: Path, slide: Any) -> Facts:
    """What the open slide says."""
    properties: Mapping[str, str] = slide.properties
    sides = [_number(properties, f"openslide.mpp-{axis}") for axis in "xy"]
    known = [mpp for mpp in sides if mpp is not None]
    said = Said(sum(known) / len(known) if known else None, _number(properties, "openslide.objective-power"))
    return Facts(
        path,
        properties.get("openslide.vendor", ""),
        slide.dimensions,
        slide.level_dimensions,
        slide.level_downsamples,
        said,
        background_of(slide),
    )


def _number(properties: Mapping[str, str], key: str) -> float | None:
    """A positive number, or None where the property is absent or something else."""
    try:
        number = float(properties.get(key, ""))
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None
