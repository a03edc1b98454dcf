"""The bag modality: a set of instances per case, such as the patches of its slides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
from fusionbench.core.types import ModalitySpec, Piece, RawBag
from fusionbench.data.feature_cache import cached_arrays
from fusionbench.data.feature_files import read_arrays, tile_side

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Bag(Modality):
    """A ref is an (instance, feature) array, or the path of a feature file, or several paths (slides of one patient).

    Files are read whenever a case is loaded; the instances of a patient's slides are concatenated in the given order.
    """

    name = "bag"
    kind = "bag"
    Options = InstanceOptions
    options: InstanceOptions

    def check(self, ref: Any) -> None:
        """Check shapes, widths and types; of files only the headers are read."""
        paths = _paths(ref)
        if paths is None:
            self.load(ref)
        else:
            _have_coords({path: self._read(path, header_only=True) for path in paths})

    def load(self, ref: Any) -> RawBag:
        paths = _paths(ref)
        if paths is None:
            values = np.asarray(ref)
            check_instances("", values, self.use.dim)
            return RawBag(as_float32("", values))
        slides = {path: self._cached(path) for path in paths}
        has_coords = _have_coords(slides)
        lengths = [len(arrays["features"]) for arrays in slides.values()]
        return RawBag(
            _joined([arrays["features"] for arrays in slides.values()]),
            _joined([arrays["coords"] for arrays in slides.values()]) if has_coords else None,
            piece=np.repeat(np.arange(len(lengths)), lengths) if len(lengths) > 1 else None,
        )

    def pieces(self, ref: Any) -> Sequence[Piece]:
        """The feature files of a case, usually one for each slide."""
        paths = _paths(ref) or ()
        return [Piece(p.stem, len(self._read(p, header_only=True)["features"]), tile_side(p)) for p in paths]

    def _cached(self, path: Path) -> Mapping[str, NDArray[Any]]:
        """The arrays of a file through the feature cache, finite as float32."""
        # Checked again, though the cache holds checked arrays: another cohort may declare another width.
        dataset = self.options.dataset
        kind = f"{self.name}:{dataset}" if dataset else self.name
        return self._checked(path, cached_arrays(path, kind, lambda: _finite(path, self._read(path))))

    def _read(self, path: Path, *, header_only: bool = False) -> Mapping[str, NDArray[Any]]:
        return self._checked(path, read_arrays(path, dataset=self.options.dataset, header_only=header_only))

    def _checked(self, path: Path, arrays: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """The arrays, after a check of their shapes and types."""
        features, coords = arrays["features"], arrays.get("coords")
        check_instances(f"{path}: ", features, self.use.dim)
        if coords is not None and (coords.ndim != 2 or len(coords) != len(features) or coords.dtype.kind not in "fiu"):
            raise DataError(
                f"{path}: `coords` has shape {coords.shape} and type {coords.dtype} for {len(features)} instances; "
                "write (instance, axis) numbers or leave it out"
            )
        return arrays

    def fit(self, train: Iterable[RawBag]) -> FittedInstances:
        return fit_instances(self._spec(), train, self.options)

    def restore(self, state: Mapping[str, Any]) -> FittedInstances:
        return restore_instances(self._spec(), state)

    def _spec(self) -> ModalitySpec:
        return ModalitySpec(self.label, "bag", self.use.dim, features=self.use.features)


def _paths(ref: Any) -> tuple[Path, ...] | None:
    """The files that a ref names; None for an array."""
    if isinstance(ref, (str, Path)):
        return (Path(ref),)
    if isinstance(ref, (tuple, list)) and all(isinstance(part, (str, Path)) for part in ref):
        if not ref:
            raise DataError("no file; leave the modality out of this case to mark it as missing")
        paths = tuple(Path(part) for part in ref)
        twice = next((path for path in paths if paths.count(path) > 1), None)
        if twice is not None:
            raise DataError(f"{twice}: named twice for one case; name each slide once")
        return paths
    return None


def _finite(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    coords = {"coords": as_float32(f"{path}: `coords`: ", arrays["coords"])} if "coords" in arrays else {}
    return {"features": as_float32(f"{path}: ", arrays["features"]), **coords}


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The slides of a case concatenated: float16 where all of them are float16, else float32."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _have_coords(slides: Mapping[Path, Mapping[str, NDArray[Any]]]) -> bool:
    """Whether the slides of a case have coords.

    Raises:
        DataError: some have and some have not, or their numbers of axes differ.
    """
    axes = {path: arrays["coords"].shape[1] if "coords" in arrays else 0 for path, arrays in slides.items()}
    if len(set(axes.values())) > 1:
        other = next(path for path, n in axes.items() if n != next(iter(axes.values())))
        raise DataError(f"{other}: its `coords` differ in kind from those of the case's other files; write all alike")
    return any(axes.values())
