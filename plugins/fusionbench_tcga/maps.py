"""`image=maps`: classifier maps of whole slides (lymphocytes, tumour), as images or cut into non-overlapping windows.

BLCA: red = probability of lymphocytes, green = predicted mutational burden, blue = tumour mask. The green channel comes
from a classifier trained on labels of the same patients (no survival labels); `channels=r` leaves it out.
BRCA: red = probability of lymphocytes, green = probability of cancer, blue = class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusionbench import DataError, ModalityUse
from fusionbench_tcga import barcodes
from fusionbench_tcga.files import content_sum, read_npz
from fusionbench_tcga.images import ImageSet, of_slides

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

Layout = Literal["bag", "grid", "both"]
Channels = Literal["rgb", "rg", "rb", "gb", "r", "g", "b"]


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


@dataclass(frozen=True)
class Maps:
    """Reduced maps of the cohort's patients.

    Attributes:
        pixels: slide barcode to (height, width, 3).
        checksum: of what they were read from.
        notes: a line each on what was left out.
    """

    pixels: Mapping[str, Pixels]
    checksum: str
    notes: tuple[str, ...]


def read_maps(
    cohort: str,
    place: Path,
    patients: frozenset[str],
    *,
    window: int,
    channels: Channels,
    layout: Layout,
    downsample: int,
) -> tuple[Mapping[str, ImageSet], str]:
    """The maps of the cohort's patients by modality, and a checksum of what they were read from.

    Args:
        place: a folder of PNGs as published, or an .npz of reduced maps.
        window: edge of a window in reduced pixels; maps are padded with zeros to whole windows.
        channels: which of "rgb" are kept.
        layout: "bag" = `image` is the windows that are not all zero, of all slides of a patient; "grid" = `image` is
            all windows in their places, of a patient's first slide (a grid has one shape); "both" = `image` is that
            bag, and `map` beside it is the grid of single pixels.
        downsample: edge of the blocks of a grid's positions that are averaged to one.

    Raises:
        DataError: nothing there, nothing of this cohort in it, or not the right form.
    """
    found = _read_folder(cohort, place, patients) if place.is_dir() else _read_npz(cohort, place, patients)
    keep = ["rgb".index(c) for c in channels]
    pixels = {slide: found.pixels[slide][..., keep] for slide in sorted(found.pixels)}
    if not pixels:
        raise DataError(f"{place} holds no map of a patient of tcga-{cohort}")
    made: dict[str, ImageSet] = {}
    if layout != "grid":
        made["image"] = _bags(pixels, window, found.notes)
    if layout != "bag":
        name, edge = ("map", 1) if layout == "both" else ("image", window)
        made[name] = _grids(name, pixels, edge, downsample, () if made else found.notes)
    return made, found.checksum


def _bags(pixels: Mapping[str, Pixels], window: int, notes: tuple[str, ...]) -> ImageSet:
    bags = {slide: _filled(windows(of, window)) for slide, of in pixels.items()}
    use = ModalityUse("bag", window * window * _depth(pixels))
    return of_slides(use, {slide: bag for slide, bag in bags.items() if len(bag)}, notes)


def _grids(name: str, pixels: Mapping[str, Pixels], window: int, downsample: int, notes: tuple[str, ...]) -> ImageSet:
    grids = {slide: windows(of, window) for slide, of in pixels.items()}
    options = {"axes": 2, **({"downsample": downsample} if downsample > 1 else {})}
    use = ModalityUse("grid", window * window * _depth(pixels), options=options)
    by_patient: dict[str, Any] = {}
    for slide, grid in grids.items():
        by_patient.setdefault(slide[:12], grid)
    note = f"{name}: a patient's grid is the map of the first of its slides by barcode"
    return ImageSet(use, by_patient, grids, (*notes, note))


def _depth(pixels: Mapping[str, Pixels]) -> int:
    return int(next(iter(pixels.values())).shape[-1])


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


def _read_folder(cohort: str, folder: Path, patients: frozenset[str]) -> Maps:
    maps = MAPS[cohort]
    there = barcodes.files_ending(folder, (maps.suffix,), "PNG per slide there")
    files = barcodes.find(folder, there, (maps.suffix,), patients)
    digest, found = hashlib.sha256(), {}
    for slide, path in files.of_cohort.items():
        digest.update(f"{path.name}\x1f".encode() + path.read_bytes())
        found[slide] = _reduced(path, maps.factor)
    return Maps(found, digest.hexdigest(), files.notes)


def _reduced(path: Path, factor: int) -> Pixels:
    pixels = reduce(_png(path), factor)
    if not pixels.size:
        raise DataError(f"{path}: smaller than one block of {factor} x {factor} pixels; bring the whole map")
    return pixels


def _png(path: Path) -> Pixels:
    from PIL import Image

    try:
        with Image.open(path) as image:
            mode, pixels = image.mode, np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).replace(str(path), "it").split())
        raise DataError(f"{path}: no readable PNG ({reason}); download it again") from error
    if mode != "RGB":
        raise DataError(f"{path}: a picture of mode {mode!r} where maps are RGB; save it as published")
    return pixels


def _read_npz(cohort: str, path: Path, patients: frozenset[str]) -> Maps:
    remedy = f"give image=maps:PATH a folder of the PNGs of {_SOURCES[cohort]}"
    if not path.is_file():
        raise DataError(f"{path} is missing; maps are not downloaded here: {remedy}")
    arrays = read_npz(path.read_bytes(), path, remedy)
    absent = {"slide", "shape", "offset", "rgb"} - set(arrays)
    if absent:
        raise DataError(f"{path} has no array {', '.join(sorted(absent))}; {remedy}")
    slides = arrays["slide"].tolist()
    unknown = [slide for slide in slides if slide[:12] not in patients]
    notes = [
        f"image: {len(unknown)} of {len(slides)} maps in {path.name} are of patients that the cohort's table does not "
        f"have, the first is {first}; left out"
        for first in unknown[:1]
    ]
    ours = {slide: of for slide, of in _unpack(arrays) if slide[:12] in patients}
    normal = [slide for slide in ours if barcodes.is_normal(slide)]
    pixels = {slide: of for slide, of in ours.items() if slide not in normal}
    lines = barcodes.tissue_lines(normal, pixels, f"of {len(slides)} maps in {path.name} are")
    notes += [f"image: {line}" for line in lines]
    return Maps(pixels, content_sum(arrays), tuple(notes))


def _unpack(arrays: dict[str, Any]) -> Iterator[tuple[str, Pixels]]:
    """Slide i is rgb[offset[i]:offset[i + 1]] in the form shape[i]."""
    for i, slide in enumerate(arrays["slide"].tolist()):
        yield slide, arrays["rgb"][arrays["offset"][i] : arrays["offset"][i + 1]].reshape(*arrays["shape"][i], 3)
