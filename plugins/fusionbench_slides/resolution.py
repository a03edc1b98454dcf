"""Which level of a slide is read, and how far it is scaled, for the resolution that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fusionbench import DataError

Kind = Literal["mpp", "magnification", "downsample"]
SCANNERS = (0.05, 20.0)
"""Micrometres per pixel that a scanner may say. Converted images often say what 72 dots per inch come to, 353."""
MPP_AT_1X = 10.0
"""Micrometres per pixel at magnification 1: 0.5 at 20x, 0.25 at 40x, as scanners are named."""
SNAP = 0.02
"""A level this near to the resolution asked for is read as it is: scanners of one name differ as much."""
FINEST = 0.9
"""Of level 0: tiles of a finer resolution than this would be made up."""


@dataclass(frozen=True)
class Resolution:
    """What a user asked for: micrometres per pixel, magnification (x), or pixels of level 0 per pixel."""

    kind: Kind
    value: float

    def __str__(self) -> str:
        return f"--{self.kind} {self.value:g}"


@dataclass(frozen=True)
class Said:
    """What a slide says of its level 0: micrometres per pixel and magnification; None where it does not."""

    mpp: float | None
    power: float | None


@dataclass(frozen=True)
class Scale:
    """How tiles are read.

    Attributes:
        level: of the pyramid.
        level_downsample: pixels of level 0 per pixel of that level.
        downsample: pixels of level 0 per pixel of a tile.
        mpp: micrometres per pixel of a tile; None where the slide does not say.
    """

    level: int
    level_downsample: float
    downsample: float
    mpp: float | None

    @property
    def rescale(self) -> float:
        """Pixels of the level per pixel of a tile; 1 where tiles are read as they are."""
        return self.downsample / self.level_downsample


def scale_for(wanted: Resolution, said: Said, level_downsamples: Sequence[float]) -> Scale:
    """The level that needs least rescaling without making pixels up, and the rescaling.

    Args:
        level_downsamples: pixels of level 0 per pixel of each level, ascending from 1.

    Raises:
        DataError: the slide does not say its resolution, says an impossible one, or is coarser than asked for.
    """
    downsample = downsample_for(wanted, said)
    if downsample < FINEST:
        raise DataError(
            f"was scanned {1 / downsample:.3g} times coarser than {wanted}; ask for a coarser resolution, or pass "
            "--downsample 1 for tiles as scanned"
        )
    near = min(level_downsamples, key=lambda level: abs(downsample / level - 1))
    if abs(downsample / near - 1) <= SNAP:
        downsample = near
    level = max((i for i, d in enumerate(level_downsamples) if d <= downsample), default=0)
    mpp = mpp_of(said)
    return Scale(level, level_downsamples[level], downsample, None if mpp is None else mpp * downsample)


def downsample_for(wanted: Resolution, said: Said) -> float:
    """Pixels of level 0 per pixel of a tile.

    Raises:
        DataError: the slide does not say its resolution, or says an impossible one.
    """
    if wanted.kind == "downsample":
        return wanted.value
    if wanted.kind == "magnification" and said.power is not None:
        return said.power / wanted.value
    mpp = mpp_of(said)
    if mpp is None:
        seen = f"says {said.mpp:g} micrometres per pixel, which no scanner has" if said.mpp else "says none"
        raise DataError(
            f"no resolution to take {wanted} from ({seen}); pass --slide-mpp X with its micrometres per pixel, or "
            "--downsample N"
        )
    return (wanted.value if wanted.kind == "mpp" else MPP_AT_1X / wanted.value) / mpp


def mpp_of(said: Said) -> float | None:
    """Micrometres per pixel of level 0, from the magnification where the slide says nothing better."""
    if said.mpp is not None and SCANNERS[0] <= said.mpp <= SCANNERS[1]:
        return said.mpp
    return None if said.power is None else MPP_AT_1X / said.power
