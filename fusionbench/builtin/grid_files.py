"""Files of one grid each: pictures (.png, .jpg), volumes (.nii, .nii.gz), and arrays as feature files hold them."""

from __future__ import annotations

import gzip
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench.builtin.feature_files import FORMATS
from fusionbench.core.errors import DataError
from fusionbench.data.slides import unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

PICTURES = (".png", ".jpg", ".jpeg")
VOLUMES = (".nii", ".nii.gz")
SUFFIXES = (*PICTURES, *VOLUMES, *FORMATS)

_CHANNELS: Mapping[str, int] = {"L": 1, "I;16": 1, "RGB": 3}
"""Modes of a picture whose numbers mean one thing, and their channels. A palette's numbers are names of colours, and
the colours under transparent pixels are undefined."""


def suffix_of(path: Path) -> str:
    """`.nii.gz` in one piece, otherwise the last suffix, in small letters."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def read_grid(path: Path, *, header_only: bool = False) -> NDArray[Any]:
    """The array of a file: a picture as (row, column, channel), a volume as its axes and, where it has one, channel.

    Axes of a NIfTI volume run towards right, anterior and superior, whichever way the file stores them, so that one
    index means one direction in all cases; its values are scaled as its header says.

    Args:
        header_only: return an array of the right shape that takes no memory; a PNG's checksums are compared as well.

    Raises:
        DataError: naming the file: absent, of an unknown format, damaged, or a picture of a mode without plain numbers.
    """
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: unknown kind of grid file {suffix!r}; known are {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file; bring it, or leave the modality out of this case")
    if suffix in PICTURES:
        return _picture(path, header_only)
    if suffix in VOLUMES:
        return _volume(path, header_only)
    return _array(path, header_only)


def _array(path: Path, header_only: bool) -> NDArray[Any]:
    """The array of a feature file as it is stored: an axis of length 1 is a row or slice here, not a batch of one."""
    try:
        arrays = FORMATS[suffix_of(path)](path, header_only)
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise unreadable(path, error) from error
    if "features" not in arrays:
        raise DataError(f"{path}: no dataset `features`; store the array (axis, ..., feature) under that name")
    return arrays["features"]


def _picture(path: Path, header_only: bool) -> NDArray[Any]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            channels = _channels(path, image.mode)
            if header_only:
                width, height = image.size
                image.verify()
                return np.broadcast_to(np.zeros((), dtype=np.uint8), (height, width, channels))
            pixels: NDArray[Any] = np.asarray(image)
    # Pillow raises SyntaxError for a broken chunk, and ValueError for a file that ends early.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: no readable picture ({_reason(error, path)}); save or download it again") from error
    return pixels.reshape(*pixels.shape[:2], channels)


def _channels(path: Path, mode: str) -> int:
    if mode not in _CHANNELS:
        raise DataError(f"{path}: a picture of mode {mode!r}; save it as L (one channel) or RGB (three)")
    return _CHANNELS[mode]


def _volume(path: Path, header_only: bool) -> NDArray[Any]:
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
    except ImportError as error:
        raise DataError(f'{path}: reading NIfTI needs nibabel; run: pip install "fusionbench[nifti]"') from error
    try:
        image: Any = nibabel.as_closest_canonical(nibabel.load(path))
        if header_only:
            return np.broadcast_to(np.zeros((), dtype=np.float32), image.shape)
        _check_gzip(path)
        values: NDArray[Any] = image.get_fdata(dtype=np.float32, caching="unchanged")
    # gzip raises EOFError for a file that ends early, zlib.error for changed bytes.
    except (OSError, ValueError, EOFError, zlib.error, ImageFileError) as error:
        raise DataError(f"{path}: no readable volume ({_reason(error, path)}); write or download it again") from error
    return values


def _check_gzip(path: Path) -> None:
    """Read a .gz file to its end, where the checksum is: nibabel stops before it and would accept damaged values."""
    if suffix_of(path) == ".nii.gz":
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass


def _reason(error: Exception, path: Path) -> str:
    """The error's message in one line, without the file's name."""
    text = " ".join(str(error).replace(str(path), "it").split())
    return text or type(error).__name__
