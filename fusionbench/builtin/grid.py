"""The grid modality: one image or volume per case, whose positions are instances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from fusionbench.builtin.grid_files import read_grid
from fusionbench.builtin.instances import (
    FittedInstances,
    InstanceOptions,
    as_float32,
    check_instances,
    fit_instances,
    restore_instances,
)
from fusionbench.core.errors import DataError
from fusionbench.core.interfaces import Modality
from fusionbench.core.types import ModalitySpec, RawBag
from fusionbench.data.feature_cache import cached_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]


class GridOptions(InstanceOptions):
    """Options of grids.

    Attributes:
        axes: number of axes beside the features: 1 a series, 2 an image, 3 a volume.
        downsample: edge of the blocks of positions that are averaged to one, the same for all axes or one for each.
        channels: features to keep, by position and in this order; empty = all. The dataset declares the kept width.
    """

    axes: int = Field(2, ge=1, le=3)
    downsample: Count | tuple[Count, ...] = 1
    channels: tuple[Index, ...] = ()

    @model_validator(mode="after")
    def _a_block_has_an_edge_along_each_axis(self) -> Self:
        if isinstance(self.downsample, tuple) and len(self.downsample) != self.axes:
            raise ValueError(f"downsample has {len(self.downsample)} numbers for {self.axes} axes; give one for each")
        return self

    @property
    def block(self) -> tuple[int, ...]:
        """Edge of a block along each axis."""
        return self.downsample if isinstance(self.downsample, tuple) else (self.downsample,) * self.axes


class Grid(Modality):
    """A ref is an array (axis, ..., feature), or the path of a file with one; extents may differ between cases.

    A grid of one feature may lack the last axis. Files are pictures, NIfTI volumes and feature files
    (`grid_files`). Instances are the positions in row-major order (the last axis runs fastest), their coords the
    indices along each axis from 0, after `downsample`. Nothing is resampled otherwise.
    """

    name = "grid"
    kind = "grid"
    Options = GridOptions
    options: GridOptions

    def check(self, ref: Any) -> None:
        """Check shape, width and type; of a file only the header is read."""
        if isinstance(ref, (str, Path)):
            self._checked(f"{ref}: ", read_grid(Path(ref), dataset=self.options.dataset, header_only=True))
        else:
            self.load(ref)

    def load(self, ref: Any) -> RawBag:
        where = f"{ref}: " if isinstance(ref, (str, Path)) else ""
        array = self._checked(where, _cached(Path(ref), self.options.dataset) if where else np.asarray(ref))
        array = block_means(as_float32(where, array), self.options.block)
        shape = array.shape[:-1]
        # Index along each axis, in the row-major order of the instances.
        coords = np.indices(shape, dtype=np.float32).reshape(len(shape), -1).T
        return RawBag(array.reshape(-1, array.shape[-1]), np.ascontiguousarray(coords), shape)

    def _checked(self, where: str, array: NDArray[Any]) -> NDArray[Any]:
        """The array as (axis, ..., kept feature), after a check of its shape and type."""
        axes, keep = self.options.axes, list(self.options.channels)
        if array.ndim == axes and self.use.dim == 1 and not keep:
            array = array[..., np.newaxis]
        if array.ndim != axes + 1:
            raise DataError(
                f"{where}expected {axes} axes and features, got an array of shape {array.shape}; "
                "set the modality's option `axes`, or bring the features last"
            )
        if keep and max(keep) >= array.shape[-1]:
            raise DataError(f"{where}{array.shape[-1]} channels and no channel {max(keep)}; change `channels`")
        array = array[..., keep] if keep else array
        if array.shape[-1] != self.use.dim:
            raise DataError(
                f"{where}{array.shape[-1]} channels where the other cases have {self.use.dim}; save all alike, or keep "
                "some with the option `channels`"
            )
        check_instances(where, array.reshape(-1, array.shape[-1]), self.use.dim)
        return array

    def fit(self, train: Iterable[RawBag]) -> FittedInstances:
        return fit_instances(self._spec(), train, self.options)

    def restore(self, state: Mapping[str, Any]) -> FittedInstances:
        return restore_instances(self._spec(), state)

    def _spec(self) -> ModalitySpec:
        return ModalitySpec(self.label, "grid", self.use.dim, axes=self.options.axes, features=self.use.features)


def _cached(path: Path, dataset: str) -> NDArray[Any]:
    """The array of a file through the feature cache, so that it is decoded once."""
    kind = f"grid:{dataset}" if dataset else "grid"
    return cached_arrays(path, kind, lambda: {"features": read_grid(path, dataset=dataset)})["features"]


def block_means(array: NDArray[np.float32], block: Sequence[int]) -> NDArray[np.float32]:
    """Means of blocks of positions; an incomplete block at the end of an axis is the mean of its positions.

    Args:
        array: (axis, ..., feature).
        block: edge along each axis.
    """
    for axis, edge in enumerate(block):
        if edge == 1:
            continue
        extent = array.shape[axis]
        starts = np.arange(0, extent, edge)
        counts = np.minimum(edge, extent - starts).astype(np.float32)
        # Axis by axis: a mean of means is the mean of the block, since its rows have equal lengths.
        sums = np.add.reduceat(array, starts, axis=axis)
        array = sums / counts.reshape(-1, *(1,) * (array.ndim - axis - 1))
    return array
