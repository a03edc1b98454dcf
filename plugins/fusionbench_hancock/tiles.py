"""Texture features of tissue micro-array tiles: two tiles of 256 numbers per patient and stain, eight stains."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fusionbench import DataError, ModalityUse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tiles = NDArray[np.float32]

STAINS = ("HE", "CD3", "CD8", "CD56", "CD68", "CD163", "MHC1", "PDL1")
WIDTH = 256
_PAD = WIDTH // 2


def file_of(stain: str) -> str:
    return f"tma_tile_dtr_256_{stain}.npz"


def read_tiles(data: bytes, where: str) -> dict[str, Tiles]:
    """Patient to (tile, 256): two tiles, or the one of a patient whose single tile was padded on both sides.

    Raises:
        DataError: an entry of another width, or not finite.

    Source: Deep Texture Representation, VGG block3_conv3, each tile of unit length (Doerrich et al.).
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {patient: _tiles(archive[patient], f"{where}: patient {patient}") for patient in archive.files}


def _tiles(vector: Tiles, where: str) -> Tiles:
    if vector.shape != (2 * WIDTH,) or not np.isfinite(vector).all():
        raise DataError(f"{where}: expected {2 * WIDTH} finite numbers, found the shape {vector.shape}")
    if not vector[:_PAD].any() and not vector[-_PAD:].any():
        return vector[_PAD:-_PAD].reshape(1, WIDTH)
    return vector.reshape(2, WIDTH)


def joined_use() -> ModalityUse:
    """What `joined` is: 256 texture numbers and a one-hot code of the stain."""
    names = (*(f"dtr_{i}" for i in range(WIDTH)), *(f"stain_{stain}" for stain in STAINS))
    return ModalityUse("bag", len(names), features=names)


def joined(of_stain: Mapping[str, Mapping[str, Tiles]]) -> dict[str, Tiles]:
    """Patient to one bag (tile, 264) of all its tiles, up to 16, in the order of STAINS.

    Args:
        of_stain: stain to patient to tiles; a patient may lack a stain.
    """
    parts: dict[str, list[Tiles]] = {}
    for code, stain in zip(np.eye(len(STAINS), dtype=np.float32), STAINS, strict=True):
        for patient, tiles in of_stain[stain].items():
            parts.setdefault(patient, []).append(np.hstack([tiles, np.tile(code, (len(tiles), 1))]))
    return {patient: _stack(bags) for patient, bags in parts.items()}


def _stack(bags: Sequence[Tiles]) -> Tiles:
    stacked: Tiles = np.concatenate(bags)
    return stacked
