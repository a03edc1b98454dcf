"""`image=maps`: classifier maps of whole slides (lymphocytes, tumour), cut into non-overlapping windows.

BLCA: red = probability of lymphocytes, green = predicted mutational burden, blue = tumour mask. The green channel comes
from a classifier trained on labels of the same patients (no survival labels); `channels=r` leaves it out.
BRCA: red = probability of lymphocytes, green = probability of cancer, blue = class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusionbench import DataError, ModalityUse
from fusionbench_tcga.files import content_sum, read_npz
from fusionbench_tcga.images import ImageSet, of_slides

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

Layout = Literal["bag", "grid"]


@dataclass(frozen=True)
class MapSet:
    """Where a cohort's maps lie and how far the published PNGs are averaged down.

    Attributes:
        path: the reduced maps under the data home.
        suffix: what stands behind the slide barcode in the name of a PNG.
        factor: edge of the blocks of pixels that are averaged.
    """

    path: str
    suffix: str
    factor: int


MAPS = {
    "blca": MapSet("tcga_image_features/blca_til_tmb_maps/blca_til_tmb_maps_div2.npz", "_probability.png", 2),
    "brca": MapSet("tcga_image_features/brca_tilmaps/brca_tilmaps_div4.npz", ".png", 4),
}
_SOURCES = {
    "blca": "github.com/hwanglab/tcga_tmb_prediction, step05)_heatmap_entropy/heatmap_blca/til_tmb_maps",
    "brca": "github.com/mathbiol/tcgatil, PNGs/brca",
}


def read_maps(
    cohort: str, place: Path, patients: frozenset[str], *, window: int, channels: str, layout: Layout
) -> tuple[ImageSet, str]:
    """The maps of the cohort's patients as windows, and a checksum of what they were read from.

    Args:
        place: a folder of PNGs as published, or an .npz of reduced maps.
        window: edge of a window in reduced pixels; maps are padded with zeros to whole windows.
        channels: which of "rgb" are kept.
        layout: "bag" = the windows that are not all zero, of all slides of a patient; "grid" = all windows in their
            places, of a patient's first slide (a grid has one shape).

    Raises:
        DataError: nothing there, nothing of this cohort in it, or not the right form.
    """
    found, checksum = _read_folder(cohort, place, patients) if place.is_dir() else _read_npz(cohort, place, patients)
    keep = ["rgb".index(c) for c in channels]
    grids = {slide: windows(pixels[..., keep], window) for slide, pixels in sorted(found.items())}
    if not grids:
        raise DataError(f"{place} holds no map of a patient of tcga-{cohort}")
    dim = window * window * len(keep)
    if layout == "grid":
        use = ModalityUse("grid", dim, options={"axes": 2})
        return _first_slides(use, grids), checksum
    bags = {slide: _filled(grid) for slide, grid in grids.items()}
    return of_slides(ModalityUse("bag", dim), {s: bag for s, bag in bags.items() if len(bag)}), checksum


def windows(pixels: Pixels, window: int) -> Pixels:
    """(height, width, channel) to (row, column, window * window * channel), padded with zeros to whole windows."""
    height, width, depth = pixels.shape
    rows, columns = -(-height // window), -(-width // window)
    padded = np.zeros((rows * window, columns * window, depth), dtype=pixels.dtype)
    padded[:height, :width] = pixels
    blocks = padded.reshape(rows, window, columns, window, depth).transpose(0, 2, 1, 3, 4)
    return blocks.reshape(rows, columns, window * window * depth)


def reduce(pixels: Pixels, factor: int) -> Pixels:
    """Mean of factor x factor blocks, rounded half to even; incomplete blocks at the end are dropped."""
    height, width, depth = pixels.shape[0] // factor, pixels.shape[1] // factor, pixels.shape[2]
    blocks = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, depth)
    rounded: Pixels = np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)
    return rounded


def _filled(grid: Pixels) -> Pixels:
    flat = grid.reshape(-1, grid.shape[-1])
    filled: Pixels = flat[flat.any(axis=1)]
    return filled


def _first_slides(use: ModalityUse, grids: dict[str, Pixels]) -> ImageSet:
    by_patient: dict[str, Any] = {}
    for slide, grid in grids.items():
        by_patient.setdefault(slide[:12], grid)
    note = "image: a patient's grid is the map of the first of its slides by barcode"
    return ImageSet(use, by_patient, grids, (note,))


def _read_folder(cohort: str, folder: Path, patients: frozenset[str]) -> tuple[dict[str, Pixels], str]:
    maps = MAPS[cohort]
    digest, found = hashlib.sha256(), {}
    for path in sorted(folder.glob(f"TCGA-*{maps.suffix}")):
        if path.name[:12] in patients:
            digest.update(f"{path.name}\x1f".encode() + path.read_bytes())
            found[path.name.removesuffix(maps.suffix)] = reduce(_png(path), maps.factor)
    return found, digest.hexdigest()


def _png(path: Path) -> Pixels:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            pixels: Pixels = np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path} is no readable PNG ({error}); download it again") from error
    return pixels


def _read_npz(cohort: str, path: Path, patients: frozenset[str]) -> tuple[dict[str, Pixels], str]:
    remedy = f"give image=maps:PATH a folder of the PNGs of {_SOURCES[cohort]}"
    if not path.is_file():
        raise DataError(f"{path} is missing; maps are not downloaded here: {remedy}")
    arrays = read_npz(path.read_bytes(), path, remedy)
    absent = {"slide", "shape", "offset", "rgb"} - set(arrays)
    if absent:
        raise DataError(f"{path} has no array {', '.join(sorted(absent))}; {remedy}")
    return {slide: pixels for slide, pixels in _unpack(arrays) if slide[:12] in patients}, content_sum(arrays)


def _unpack(arrays: dict[str, Any]) -> Iterator[tuple[str, Pixels]]:
    """Slide i is rgb[offset[i]:offset[i + 1]] in the form shape[i]."""
    for i, slide in enumerate(arrays["slide"].tolist()):
        yield slide, arrays["rgb"][arrays["offset"][i] : arrays["offset"][i + 1]].reshape(*arrays["shape"][i], 3)
