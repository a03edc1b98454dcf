"""`image=grid:PATH`: pictures or volumes of one's own, one file per slide or patient: thumbnails, heat maps, scans."""

from __future__ import annotations

from pathlib import Path

from fusionbench import DataError, ModalityUse
from fusionbench.data.feature_files import fingerprint
from fusionbench_tcga import barcodes
from fusionbench_tcga.images import PATIENT_NOTE, ImageSet

PICTURES = (".png", ".jpg", ".jpeg")
VOLUMES = (".nii", ".nii.gz")
SUFFIXES = (*PICTURES, *VOLUMES, ".npy")
FIRST_NOTE = "image: a patient's grid is the first of its files by barcode"


def read_folder(folder: Path, patients: frozenset[str], *, axes: int, downsample: int) -> tuple[ImageSet, str]:
    """The grid files of the cohort's patients, and a fingerprint of them.

    A file's name begins with a slide's or a patient's barcode. Files are read when a case is asked for; only the first
    is opened here, for its channels.

    Args:
        axes: 2 for pictures, 3 for volumes.
        downsample: edge of the blocks of positions that are averaged.

    Raises:
        DataError: see `barcodes`; or the first file has another number of axes.
    """
    there = barcodes.files_ending(folder, SUFFIXES, "picture or volume per slide there")
    files = barcodes.find(folder, there, SUFFIXES, patients, named=barcodes.SLIDE_OR_PATIENT)
    paths = files.of_cohort
    first: dict[str, Path] = {}
    for barcode in sorted(paths):
        first.setdefault(barcode[:12], paths[barcode])
    use = ModalityUse("grid", channels(next(iter(paths.values())), axes), options={"axes": axes})
    if downsample > 1:
        use = ModalityUse("grid", use.dim, options={"axes": axes, "downsample": downsample})
    notes = (*files.notes, *((FIRST_NOTE,) if len(first) < len(paths) else ()))
    if all(barcodes.SLIDE.match(barcode) for barcode in paths):
        return ImageSet(use, first, paths, notes), fingerprint(tuple(paths.values()))
    return ImageSet(use, first, {}, (*notes, PATIENT_NOTE)), fingerprint(tuple(paths.values()))


def channels(path: Path, axes: int) -> int:
    """How many numbers each position of a file has.

    Raises:
        DataError: the file cannot be read, or has another number of axes.
    """
    try:
        shape = _shape(path)
    except ImportError as error:
        raise DataError(f'{path}: reading NIfTI needs nibabel; run: pip install "fusionbench[nifti]"') from error
    except Exception as error:  # Pillow, nibabel and numpy raise a dozen kinds for a damaged file
        reason = " ".join(str(error).replace(str(path), "it").split())
        raise DataError(f"{path}: cannot be read ({reason}); write or download it again") from error
    if len(shape) not in (axes, axes + 1):
        raise DataError(
            f"{path}: expected {axes} axes, with or without channels behind them, found the shape {shape}; "
            "image=grid takes axes=2 for pictures and axes=3 for volumes"
        )
    return int(shape[axes]) if len(shape) > axes else 1


def _shape(path: Path) -> tuple[int, ...]:
    if path.name.endswith(PICTURES):
        from PIL import Image

        with Image.open(path) as image:
            return (image.height, image.width, len(image.getbands()))
    if path.name.endswith(VOLUMES):
        import nibabel

        return tuple(nibabel.load(path).shape)
    import numpy as np

    return tuple(np.load(path, mmap_mode="r").shape)
