"""Files of patch features: .h5 and .npz with `features` (and `coords`), .npy, .pt with one tensor.

CLAM and TRIDENT write such .h5 and .pt files, some of them with an axis of length 1, a batch of one, before the others.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from fusionbench.core.errors import DataError
from fusionbench.data.slides import unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

KEYS = ("features", "coords")


def read_arrays(path: Path, *, header_only: bool = False) -> Arrays:
    """The arrays of a feature file: `features`, and `coords` where the file has them.

    Args:
        path: its suffix decides the format.
        header_only: return arrays of the right shape and type that take no memory, without reading the values.

    Raises:
        DataError: naming the file: it is absent, of an unknown format, damaged, or has no `features`.
    """
    if path.suffix not in FORMATS:
        raise DataError(f"{path}: unknown kind of feature file {path.suffix!r}; known are {', '.join(FORMATS)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file; extract its features first, or leave the modality out of this case")
    try:
        arrays = FORMATS[path.suffix](path, header_only)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: cannot be read: pickled objects, which can run code and are refused, or damaged; save one plain "
            "(instance, feature) tensor"
        ) from error
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise unreadable(path, error) from error
    if "features" not in arrays:
        raise DataError(f"{path}: no dataset `features`; store the (instance, feature) array under that name")
    return {key: _without_batch(array) for key, array in arrays.items()}


def tile_side(path: Path) -> float | None:
    """Side of a tile in pixels of level 0, as `fusionbench slides`, CLAM and TRIDENT write it; None where not written.

    Raises:
        DataError: the file cannot be read.
    """
    import h5py

    if path.suffix != ".h5":
        return None
    try:
        with h5py.File(path, "r") as file:
            coords = file["coords"].attrs if "coords" in file else {}
            written = file.attrs.get("tile_size_level0", coords.get("patch_size_level0"))
            side = None if written is None else float(written)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise unreadable(path, error) from error
    return side if side is not None and 0 < side < float("inf") else None


def _without_batch(array: NDArray[Any]) -> NDArray[Any]:
    """(1, instance, axis) as (instance, axis); anything else as it is."""
    return array[0] if array.ndim == 3 and len(array) == 1 else array


def _h5(path: Path, header_only: bool) -> Arrays:
    import h5py

    with h5py.File(path, "r") as file:
        datasets = {key: file[key] for key in KEYS if isinstance(file.get(key), h5py.Dataset)}
        return {key: _placeholder(d.shape, d.dtype) if header_only else d[()] for key, d in datasets.items()}


def _npy(path: Path, header_only: bool) -> Arrays:
    if not header_only:
        return {"features": np.load(path)}
    with path.open("rb") as file:
        return {"features": _npy_header(file)}


def _npz(path: Path, header_only: bool) -> Arrays:
    if not header_only:
        with np.load(path) as file:
            return {key: file[key] for key in KEYS if key in file}
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for key in KEYS:
            if f"{key}.npy" in archive.namelist():
                with archive.open(f"{key}.npy") as member:
                    arrays[key] = _npy_header(member)
    return arrays


def _pt(path: Path, header_only: bool) -> Arrays:
    import torch

    # A mapped tensor is read where it is touched; files of the format before torch 1.6 cannot be mapped.
    tensor = torch.load(path, map_location="cpu", weights_only=True, mmap=header_only and zipfile.is_zipfile(path))
    if not isinstance(tensor, torch.Tensor):
        raise DataError(f"{path}: holds a {type(tensor).__name__}; save one plain tensor (instance, feature)")
    if header_only:
        kind = np.float32 if tensor.is_floating_point() else tensor.numpy().dtype
        return {"features": _placeholder(tuple(tensor.shape), np.dtype(kind))}
    return {"features": (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()}


def _npy_header(file: IO[bytes]) -> NDArray[Any]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return _placeholder(shape, dtype)


def _placeholder(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeros of a shape that take the memory of one."""
    return np.broadcast_to(np.zeros((), dtype=dtype), shape)


FORMATS: Mapping[str, Callable[[Path, bool], Arrays]] = {".h5": _h5, ".npy": _npy, ".npz": _npz, ".pt": _pt}
