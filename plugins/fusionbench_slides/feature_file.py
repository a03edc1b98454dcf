"""One HDF5 file a slide, laid out as CLAM and TRIDENT do: `features` (tile, feature), `coords` (tile, 2) at level 0."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusionbench import DataError
from fusionbench.data.slides import unreadable
from fusionbench_slides.disk import part_of, room_for
from fusionbench_slides.sink import Sink, sink

if TYPE_CHECKING:
    from numpy.typing import NDArray

DTYPE = Literal["float16", "float32"]


class FeatureFile:
    """A file in the making; `written` gives it its name once it is whole."""

    def __init__(self, file: Any, below: Sink, path: Path, coords: NDArray[np.int64], dtype: DTYPE) -> None:
        self.file, self.below, self.path = file, below, path
        self.coords, self.dtype, self.count = coords, dtype, 0

    def append(self, features: NDArray[np.float32]) -> None:
        """The next (tile, feature) rows.

        Raises:
            DataError: a feature is NaN or infinite, or too large for the type it is stored as.
            OSError: it could not be written.
        """
        if self.count == 0:
            self.file.create_dataset("features", (len(self.coords), features.shape[1]), self.dtype)
        with np.errstate(over="ignore"):
            stored = features.astype(self.dtype)
        if not np.isfinite(stored).all():
            what = "a NaN or infinite" if not np.isfinite(features).all() else "too large a"
            raise DataError(
                f"{self.path}: the encoder gives {what} feature; pass --dtype float32 --precision float32, or "
                "other weights"
            )
        self.file["features"][self.count : self.count + len(stored)] = stored
        self.count += len(stored)
        self.below.check()

    def describe(self, of_file: Mapping[str, Any], of_coords: Mapping[str, Any]) -> None:
        """Attributes of the file, and of `coords`, where CLAM and TRIDENT have them."""
        self.file.attrs.update(of_file)
        self.file["coords"].attrs.update(of_coords)


@contextmanager
def written(path: Path, coords: NDArray[np.int64], dtype: DTYPE) -> Iterator[FeatureFile]:
    """A file for the features of the tiles at `coords`, under a temporary name until it is whole and on the disk.

    Raises:
        DiskFull: there is no room. DataError: another run is writing the same file. Nothing is left of it then.
    """
    import h5py

    part = part_of(path)
    with room_for(path), sink(part) as below:
        try:
            with h5py.File(below, "w") as file:
                file.create_dataset("coords", data=coords)
                yield FeatureFile(file, below, path, coords, dtype)
            below.check()
            os.fsync(below.file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink()
            raise
    _folder_to_disk(path.parent)


def _folder_to_disk(folder: Path) -> None:
    """The new name, too, outlives a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def attributes(path: Path) -> Mapping[str, Any]:
    """What a finished file says of itself.

    Raises:
        DataError: it cannot be read, or lacks its arrays.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            said = {key: value.item() if isinstance(value, np.generic) else value for key, value in file.attrs.items()}
            return {**said, "tiles": len(file["features"])}
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        raise unreadable(path, error, "it is there already; remove it or pass --overwrite") from error
