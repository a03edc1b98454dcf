"""Files of patch features: an (instance, feature) array each, with or without `coords`, and the folders they lie in.

CLAM and TRIDENT write such .h5 and .pt files, some of them with an axis of length 1, a batch of one, before the others.
Encoders of whole slides (TRIDENT, HIPT, TITAN) write one vector a slide: an (instance, feature) array of one instance.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from fusionbench.core.errors import DataError
from fusionbench.data.slides import unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

FEATURES, COORDS = "features", "coords"
CLAM_FOLDERS = ("h5_files", "pt_files")
"""Where CLAM puts its files below the folder it is given; the former have coordinates."""
SHOWN_DIGITS = 12
"""Of the sha256 of an encoder's weights."""
EDGE = 1 << 20
"""Bytes hashed at each end of a feature file; not all, since the files of a cohort can be 100 GB."""


def feature_files(folder: Path) -> list[Path]:
    """The feature files of a folder in the order of their names; where it has none, those of CLAM's folders below it.

    Hidden files, such as macOS adds, are none, nor are folders, whatever their names.

    Raises:
        DataError: no such folder, or no feature file in it; names the folders below that have some.
    """
    for place in (folder, *(folder / name for name in CLAM_FOLDERS)):
        found = _files_of(place)
        if found:
            return found
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; put one {'/'.join(FORMATS)} file of each slide there")
    below = [f"{p.name} ({len(_files_of(p))})" for p in sorted(folder.iterdir()) if _files_of(p)]
    hint = f"; name one of the folders below it that do: {', '.join(below[:5])}" if below else ""
    raise DataError(f"{folder} holds no {'/'.join(FORMATS)} file{hint or '; put one of each slide there'}")


def _files_of(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if is_feature_file(p) and p.name[0] != "." and not p.is_dir())


def is_feature_file(path: Path) -> bool:
    """Whether a file's ending is one of a feature file, in large or small letters."""
    return path.suffix.lower() in FORMATS


def read_arrays(path: Path, *, dataset: str = "", header_only: bool = False) -> Arrays:
    """The arrays of a feature file: `features`, and `coords` where the file has them for each instance.

    Args:
        path: its suffix decides the format.
        dataset: name of the array of features in the file; by default `features`, else the only array of two axes
            that is not `coords`. A vector is one instance.
        header_only: return arrays of the right shape and type that take no memory, without reading the values.

    Raises:
        DataError: naming the file: it is absent, of an unknown format, damaged, or it is not clear which of its arrays
            holds the features.
    """
    if is_feature_file(path) and not path.is_file():
        raise DataError(f"{path}: no such file; extract its features first, or leave the modality out of this case")
    arrays = {
        key: _without_batch(array) for key, array in stored_arrays(path, dataset, header_only=header_only).items()
    }
    features = arrays[FEATURES]
    if features.ndim == 1:
        arrays[FEATURES] = features = features[np.newaxis]
    if features.ndim == 2 and len(features) == 1 != len(arrays.get(COORDS, features)):
        del arrays[COORDS]  # of the patches that one vector stands for
    return arrays


def stored_arrays(path: Path, dataset: str = "", *, header_only: bool = False) -> Arrays:
    """The arrays as they are stored, an axis of length 1 and all; see `read_arrays` for the rest."""
    if not is_feature_file(path):
        raise DataError(f"{path}: unknown kind of feature file {path.suffix!r}; known are {', '.join(FORMATS)}")
    try:
        return FORMATS[path.suffix.lower()](path, dataset, header_only)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: cannot be read: pickled objects, which can run code and are refused, or damaged; write the file "
            "again as one plain (instance, feature) tensor"
        ) from error
    except DataError:
        raise
    # A damaged file raises whatever the reader of HDF5, of zip archives, of arrays or of pickles raises.
    except Exception as error:
        raise unreadable(path, error) from error


def tile_side(path: Path) -> float | None:
    """Side of a tile in pixels of level 0, as `fusionbench slides`, CLAM and TRIDENT write it; None where not written.

    Raises:
        DataError: the file cannot be read.
    """
    import h5py

    if FORMATS.get(path.suffix.lower()) is not _h5:
        return None
    try:
        with h5py.File(path, "r") as file:
            coords = file[COORDS].attrs if COORDS in file else {}
            written = file.attrs.get("tile_size_level0", coords.get("patch_size_level0"))
            side = None if written is None else float(written)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise unreadable(path, error) from error
    return side if side is not None and 0 < side < float("inf") else None


def encoder_of(paths: Iterable[Path], *, dataset: str = "") -> str:
    """What made the features of these files, as `fusionbench slides` and TRIDENT write it; empty where none says it.

    Args:
        dataset: name of the array of features in each file; by default `features`.

    Raises:
        DataError: two files name two encoders, or a file cannot be read.
    """
    first: tuple[Path, str] | None = None
    for path in paths:
        said = _encoder(path, dataset or FEATURES)
        if first is None and said:
            first = path, said
        elif first is not None and said not in ("", first[1]):
            other = f"{first[0].name} has those of {first[1]}"
            raise DataError(f"{path}: features of {said}, where {other}; extract all with one encoder")
    return first[1] if first else ""


def _encoder(path: Path, array: str) -> str:
    """Name, version and weights of the encoder as far as a file says them; TRIDENT says the name, beside the array."""
    import h5py

    if FORMATS.get(path.suffix.lower()) is not _h5:
        return ""
    try:
        with h5py.File(path, "r") as file:
            of_array = file[array].attrs if array in file else {}
            name = file.attrs.get("encoder", of_array.get("encoder", ""))
            version, weights = (file.attrs.get(key, "") for key in ("encoder_version", "weights_sha256"))
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise unreadable(path, error) from error
    parts = (name, f"version {version}" if version else "", f"weights {weights[:SHOWN_DIGITS]}" if weights else "")
    return ", ".join(part for part in parts if part) if name else ""


def fingerprint(paths: Sequence[Path]) -> str:
    """sha256 over names, sizes, and the first and last MiB of each file, in the order of names."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda p: p.name):
        size = path.stat().st_size
        digest.update(f"{path.name}\x1f{size}\x1f".encode())
        with path.open("rb") as file:
            digest.update(file.read(EDGE))
            file.seek(max(EDGE, size - EDGE))
            digest.update(file.read())
    return digest.hexdigest()


def _without_batch(array: NDArray[Any]) -> NDArray[Any]:
    """(1, instance, axis) as (instance, axis); anything else as it is."""
    return array[0] if array.ndim == 3 and len(array) == 1 else array


def _chosen(path: Path, dataset: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Which array of a file holds the features.

    Raises:
        DataError: there is none of this name; or without a name, none or several that may be it.
    """
    listed = ", ".join(f"{name!r} {shape}" for name, shape in list(shapes.items())[:6]) or "no array"
    if dataset:
        if dataset in shapes:
            return dataset
        raise DataError(f"{path}: no array {dataset!r}; it holds {listed}")
    if FEATURES in shapes:
        return FEATURES
    fitting = [n for n, s in shapes.items() if n != COORDS and (len(s) == 2 or (len(s) == 3 and s[0] == 1))]
    if len(fitting) == 1:
        return fitting[0]
    raise DataError(
        f"{path}: no array `features`, and {len(fitting) or 'none'} that may be it; the file holds {listed}: say which "
        'it is, dataset = "NAME" in the cohort\'s TOML, or store it as `features`'
    )


def _named(chosen: str, names: Collection[str]) -> dict[str, str]:
    """What an array is, to its name in the file."""
    return {FEATURES: chosen, **({COORDS: COORDS} if COORDS in names and chosen != COORDS else {})}


def _h5(path: Path, dataset: str, header_only: bool) -> Arrays:
    import h5py

    with h5py.File(path, "r") as file:
        found: dict[str, Any] = {}
        file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        names = _named(_chosen(path, dataset, {name: d.shape for name, d in found.items() if d.shape}), found)
        return {
            key: _placeholder(found[name].shape, found[name].dtype) if header_only else found[name][()]
            for key, name in names.items()
        }


def _npy(path: Path, dataset: str, header_only: bool) -> Arrays:
    with path.open("rb") as file:  # not np.load: it takes archives and pickles, too
        return {FEATURES: _npy_header(file) if header_only else np.lib.format.read_array(file, allow_pickle=False)}


def _npz(path: Path, dataset: str, header_only: bool) -> Arrays:
    headers = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as file:
                    headers[member.removesuffix(".npy")] = _npy_header(file)
    names = _named(_chosen(path, dataset, {name: header.shape for name, header in headers.items()}), headers)
    if header_only:
        return {key: headers[name] for key, name in names.items()}
    with np.load(path) as arrays:
        return {key: arrays[name] for key, name in names.items()}


def _pt(path: Path, dataset: str, header_only: bool) -> Arrays:
    import torch

    # A mapped tensor is read where it is touched; files of the format before torch 1.6 cannot be mapped.
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=header_only and zipfile.is_zipfile(path))
    if isinstance(content, torch.Tensor):
        content = {FEATURES: content}
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: holds a {type(content).__name__}; save one plain tensor (instance, feature)")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    names = _named(_chosen(path, dataset, {name: tuple(t.shape) for name, t in tensors.items()}), tensors)
    return {key: _tensor(tensors[name], header_only) for key, name in names.items()}


def _tensor(tensor: Any, header_only: bool) -> NDArray[Any]:
    if header_only:
        kind = np.float32 if tensor.is_floating_point() else tensor.numpy().dtype
        return _placeholder(tuple(tensor.shape), np.dtype(kind))
    array: NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
    return array


def _npy_header(file: IO[bytes]) -> NDArray[Any]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return _placeholder(shape, dtype)


def _placeholder(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeros of a shape that take the memory of one."""
    return np.broadcast_to(np.zeros((), dtype=dtype), shape)


FORMATS: Mapping[str, Callable[[Path, str, bool], Arrays]] = {
    ".h5": _h5,
    ".hdf5": _h5,
    ".npy": _npy,
    ".npz": _npz,
    ".pt": _pt,
    ".pth": _pt,
}
"""Ending of a feature file, in small letters, to its reader."""
