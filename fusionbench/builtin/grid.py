"""The grid modality: an image or volume a case, whose positions are instances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from fusionbench.builtin.feature_files import read_arrays
from fusionbench.builtin.instances import (
    FittedInstances,
    InstanceOptions,
    as_float32,
    check_instances,
    fit_instances,
    restore_instances,
)
from fusionbench.errors import DataError
from fusionbench.interfaces import Modality
from fusionbench.types import ModalitySpec, RawBag


class GridOptions(InstanceOptions):
    """
    Attributes:
        axes: number of axes beside the features: 1 a series, 2 an image, 3 a volume.
    """

    axes: int = Field(2, ge=1, le=3)


class Grid(Modality):
    """A ref is an array (axis, ..., feature), or the path of a file with one; extents may differ between cases.

    Instances are the positions in row-major order (the last axis runs fastest), their coords the indices along each
    axis from 0. All positions are read, none resampled.
    """

    name = "grid"
    kind = "grid"
    Options = GridOptions
    options: GridOptions

    def check(self, ref: Any) -> None:
        """Shape, width and type; of a file only the header is read."""
        if isinstance(ref, (str, Path)):
            self._flat(f"{ref}: ", read_arrays(Path(ref), header_only=True)["features"])
        else:
            self.load(ref)

    def load(self, ref: Any) -> RawBag:
        where = f"{ref}: " if isinstance(ref, (str, Path)) else ""
        array = read_arrays(Path(ref))["features"] if where else np.asarray(ref)
        shape = array.shape[:-1]
        values = as_float32(where, self._flat(where, array))
        coords = np.indices(shape, dtype=np.float32).reshape(len(shape), -1).T
        return RawBag(values, np.ascontiguousarray(coords), shape)

    def _flat(self, where: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """(axis, ..., feature) to (position, feature)."""
        if array.ndim != self.options.axes + 1:
            raise DataError(
                f"{where}expected {self.options.axes} axes and features, got an array of shape {array.shape}; "
                "set the modality's option `axes`, or bring the features last"
            )
        positions = int(np.prod(array.shape[:-1]))
        flat = array.reshape(positions, array.shape[-1])
        check_instances(where, flat, self.use.dim)
        return flat

    def fit(self, train: Iterable[RawBag]) -> FittedInstances:
        return fit_instances(self._spec(), train, self.options)

    def restore(self, state: Mapping[str, Any]) -> FittedInstances:
        return restore_instances(self._spec(), state)

    def _spec(self) -> ModalitySpec:
        return ModalitySpec(self.label, "grid", self.use.dim, axes=self.options.axes, features=self.use.features)
