"""`image=dir` and `image=dir:PATH`: the user's own patch features, one file per slide."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fusionbench import DataError, ModalityUse
from fusionbench.data.slides import unreadable
from fusionbench_tcga import barcodes
from fusionbench_tcga.images import ImageSet, of_slides

FOLDER = "patches"
"""Under the data home, with a folder per dataset."""

SUFFIXES = (".h5", ".npy", ".npz", ".pt")
_WHAT = "file of patch features per slide there or elsewhere: image=dir:PATH"
_EDGE = 1 << 20  # bytes hashed at each end of a file


def read_folder(folder: Path, patients: frozenset[str]) -> tuple[ImageSet, str]:
    """The feature files of the cohort's patients, and a fingerprint of them.

    A file's name begins with its slide's barcode. Files are read when a case is asked for; only the first is opened
    here, for its width.

    Raises:
        DataError: no such folder, no file of this cohort in it, or two files of one slide.
    """
    files = barcodes.find(folder, SUFFIXES, patients, _WHAT)
    found = files.of_cohort
    use = ModalityUse("bag", width(next(iter(found.values()))))
    bags = {slide: (path,) for slide, path in found.items()}
    return of_slides(use, bags, files.notes), fingerprint(tuple(found.values()))


def width(path: Path) -> int:
    """Number of features of the instances in a file.

    Raises:
        DataError: the file cannot be read or holds no (instance, feature) array.
    """
    try:
        shape = _shape(path)
    except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise unreadable(path, error) from error
    if len(shape) == 3 and shape[0] == 1:  # as TRIDENT and CLAM may write it
        shape = shape[1:]
    if len(shape) != 2:
        raise DataError(f"{path}: expected an (instance, feature) array, found the shape {shape}")
    return int(shape[1])


def _shape(path: Path) -> tuple[int, ...]:
    try:
        return _shape_of_features(path)
    except (AttributeError, pickle.UnpicklingError) as error:  # torch answers the latter in twenty lines
        raise ValueError("it holds more than a plain array, which is not opened") from error
    except EOFError as error:
        raise ValueError("it is empty or ends early") from error


def _shape_of_features(path: Path) -> tuple[int, ...]:
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path, "r") as file:
            return tuple(file["features"].shape)
    if path.suffix == ".pt":
        import torch

        return tuple(torch.load(path, map_location="cpu", weights_only=True).shape)
    if path.suffix == ".npy":
        return tuple(np.load(path, mmap_mode="r").shape)
    with np.load(path) as archive:
        return tuple(archive["features"].shape)


def fingerprint(paths: Sequence[Path]) -> str:
    """sha256 over names, sizes, and the first and last MiB of each file: features of a cohort can be 100 GB."""
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name}\x1f{size}\x1f".encode())
        with path.open("rb") as file:
            digest.update(file.read(_EDGE))
            if size > _EDGE:
                file.seek(max(_EDGE, size - _EDGE))
                digest.update(file.read())
    return digest.hexdigest()
