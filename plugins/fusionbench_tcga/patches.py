"""`image=dir` and `image=dir:PATH`: the user's own patch features, one file per slide."""

from __future__ import annotations

from pathlib import Path

from fusionbench import DataError, ModalityUse
from fusionbench.data.feature_files import FORMATS, encoder_of, feature_files, fingerprint, read_arrays
from fusionbench_tcga import barcodes
from fusionbench_tcga.images import ImageSet, of_slides

FOLDER = "patches"
"""Under the data home, with a folder per dataset."""


def read_folder(folder: Path, patients: frozenset[str]) -> tuple[ImageSet, str]:
    """The feature files of the cohort's patients, and a fingerprint of them.

    A file's name begins with its slide's barcode. Values are read when a case is asked for; here only the headers are.

    Raises:
        DataError: no such folder, no file of this cohort in it, or two files of one slide.
    """
    suffixes = tuple(FORMATS)
    if not folder.is_dir():
        what = "file of patch features per slide there or elsewhere: image=dir:PATH"
        raise DataError(f"{folder} is no folder; put one {what} ({'/'.join(suffixes)}), {barcodes.example(suffixes)}")
    try:
        there = feature_files(folder)
    except DataError as error:
        raise DataError(f"{error}, named by a slide of this cohort, {barcodes.example(suffixes)}") from error
    files = barcodes.find(folder, there, suffixes, patients)
    sizes = {slide: instances(path) for slide, path in files.of_cohort.items()}
    full = {slide[:12] for slide, (n, _) in sizes.items() if n}
    empty = [slide for slide, (n, _) in sizes.items() if not n and slide[:12] in full]
    bags = {slide: (path,) for slide, path in files.of_cohort.items() if slide not in empty}
    notes = files.notes
    if empty:
        notes += (f"image: {len(empty)} files have no instance, the first is of {empty[0]}; left out",)
    encoder = encoder_of(path for paths in bags.values() for path in paths)
    use = ModalityUse("bag", sizes[next(iter(bags))][1], encoder=encoder)
    return of_slides(use, bags, notes), fingerprint(tuple(files.of_cohort.values()))


def instances(path: Path) -> tuple[int, int]:
    """Number of instances in a file, and of their features.

    Raises:
        DataError: the file cannot be read or holds no (instance, feature) array.
    """
    shape = read_arrays(path, header_only=True)["features"].shape
    if len(shape) != 2:
        raise DataError(f"{path}: expected an (instance, feature) array, found the shape {shape}")
    return shape[0], shape[1]
