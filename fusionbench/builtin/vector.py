"""The vector modality: one row of named columns per case, such as clinical covariates or omics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from fusionbench.builtin.columns import ColumnScaling, fit_columns
from fusionbench.core.errors import DataError
from fusionbench.core.interfaces import FittedModality, Modality
from fusionbench.core.interfaces import Options as BaseOptions
from fusionbench.core.types import ModalitySpec, ModalityUse, RawBag

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Floats = NDArray[np.float64]


class VectorOptions(BaseOptions):
    """Preprocessing of columns.

    Attributes:
        clip: largest distance from the median, in interquartile ranges (`columns.clip_unit`); None = no clipping.
            At 5 a normal column is unchanged (6.7 sd). On the RNA columns of TCGA BLCA, BRCA and KIRP it clips 2 % of
            the cells, and the share of columns with most of their variance in one cell falls from 11-16 % to about 1 %.
        scale: to mean 0 and standard deviation 1.
        impute: value of a missing cell, over the training cases.
    """

    clip: float | None = Field(5.0, gt=0)
    scale: bool = True
    impute: Literal["median", "mean"] = "median"


class Vector(Modality):
    """A ref is a 1-D array of numbers; NaN is a missing cell.

    Fitted on training cases: imputation, clipping around the median, standard scaling (a constant column
    becomes 0), in this order. A categorical column becomes one 0/1 column per training level, neither clipped nor
    scaled; a missing cell and a level that no training case has are 0 in all of them.
    """

    name = "vector"
    kind = "vector"
    Options = VectorOptions
    options: VectorOptions

    def __init__(self, name: str, use: ModalityUse, options: BaseOptions) -> None:
        super().__init__(name, use, options)
        _check_declaration(name, use)

    def load(self, ref: Any) -> RawBag:
        values = np.asarray(ref)
        if values.dtype.kind not in "fiub":
            raise DataError(f"expected numbers, got {values.dtype}; code levels as numbers and missing cells as NaN")
        if values.shape != (self.use.dim,):
            raise DataError(f"expected one row of {self.use.dim} columns, got an array of shape {values.shape}")
        values = values.astype(np.float64, copy=False)
        infinite = np.flatnonzero(np.isinf(values))
        if infinite.size:
            raise DataError(f"column {self._column(int(infinite[0]))} is infinite; write NaN for a missing cell")
        return RawBag(values[np.newaxis])

    def fit(self, train: Iterable[RawBag]) -> FittedVector:
        rows = [raw.values for raw in train]
        if not rows:
            raise DataError("no training case has it; leave the modality out or take other folds")
        # float64 throughout, rounded once at the end: training moments must not depend on float32 rounding.
        x = np.concatenate(rows).astype(np.float64, copy=False)
        scaling = fit_columns(x, **self.options.model_dump())
        # Levels of training cases only: those of others must not be known.
        levels = {i: _levels(x[:, i]) for i, name in enumerate(self.use.features) if name in self.use.categorical}
        layout, spec = Layout(scaling, levels), self._spec(levels)
        if spec.dim == 0:
            raise DataError("no training case has a value in any column; leave the modality out or take other folds")
        empty = [self._column(int(i)) for i in np.flatnonzero(np.isnan(x).all(axis=0))]
        notes = (f"no training case has a value in {_listed(empty)}: imputed as 0",) if empty else ()
        return FittedVector(spec, self.use.features, layout, layout(x).mean(axis=0), notes)

    def restore(self, state: Mapping[str, Any]) -> FittedVector:
        """The fitted vector whose `FittedVector.state` this is.

        Raises:
            DataError: the declared columns are not those it was fitted on.
        """
        scaling = ColumnScaling.restore(state["numbers"])
        if (list(self.use.features), self.use.dim) != (list(state["columns"]), scaling.fill.size):
            raise DataError(
                f"modality {self.label!r}: the columns differ from those it was fitted on "
                f"({_difference(self.use, state['columns'], scaling.fill.size)}); bring the same in the same order"
            )
        levels = {int(i): tuple(values) for i, values in state["levels"].items()}
        average = np.array(state["mean"], dtype=np.float64)
        return FittedVector(
            self._spec(levels), self.use.features, Layout(scaling, levels), average, tuple(state["notes"])
        )

    def _column(self, index: int) -> str:
        return repr(self.use.features[index]) if self.use.features else str(index)

    def _spec(self, levels: Mapping[int, tuple[float, ...]]) -> ModalitySpec:
        """The prepared columns: the raw ones in their order, a categorical one as one column per level, by its text."""
        raw = [i for i in range(self.use.dim) for _ in levels.get(i, (0.0,))]  # prepared column -> its raw column
        columns = self.use.features
        names = [
            f"{columns[i]}={self.use.level(columns[i], v)}" if i in levels else columns[i]
            for i in range(len(columns))
            for v in levels.get(i, (0.0,))
        ]
        groups = {
            group: tuple(j for j, i in enumerate(raw) if columns[i] in members)
            for group, members in ((g, frozenset(m)) for g, m in self.use.groups.items())
        }
        return ModalitySpec(self.label, "vector", len(raw), groups, features=tuple(names))


@dataclass(frozen=True, eq=False)
class Layout:
    """Preprocessing of all columns: raw to prepared.

    Attributes:
        scaling: of the numeric columns; computed for all, ignored for categorical ones.
        levels: index of a categorical raw column to its training levels, ascending.
    """

    scaling: ColumnScaling
    levels: Mapping[int, tuple[float, ...]]

    @cached_property
    def _sources(self) -> tuple[NDArray[np.int64], Floats]:
        """(feature,) raw column of each prepared column, and its level; NaN for a numeric column."""
        pairs = [(i, level) for i in range(self.scaling.fill.size) for level in self.levels.get(i, (np.nan,))]
        levels = np.array([level for _, level in pairs], dtype=np.float64)
        return np.array([i for i, _ in pairs], dtype=np.int64), levels

    def __call__(self, x: Floats) -> Floats:
        """(case, feature) prepared values, finite, from (case, column) raw ones."""
        z = self.scaling(x)
        if not self.levels:
            return z
        raw, level = self._sources
        return np.where(np.isnan(level), z[:, raw], x[:, raw] == level)  # a missing cell (NaN) equals no level


@dataclass(frozen=True, eq=False)
class FittedVector(FittedModality):
    """Fitted preprocessing of a vector.

    Attributes:
        columns: names of the raw columns.
        average: (feature,) mean of the prepared training rows.
        notes: one line each, for the cell's record.
    """

    spec: ModalitySpec
    columns: tuple[str, ...]
    layout: Layout
    average: Floats
    notes: tuple[str, ...] = ()

    def __call__(self, raw: RawBag) -> Tensor:
        return _tensor(self.layout(raw.values.astype(np.float64, copy=False)))

    def mean(self) -> Tensor:
        return _tensor(self.average)

    def state(self) -> Mapping[str, Any]:
        return {
            "columns": list(self.columns),
            "numbers": self.layout.scaling.state(),
            "levels": {str(i): list(values) for i, values in self.layout.levels.items()},
            "mean": self.average.tolist(),
            "notes": list(self.notes),
        }


def _tensor(values: Floats) -> Tensor:
    import torch  # here, so that listing plugins does not load it

    return torch.from_numpy(values.astype(np.float32))


def _levels(column: Floats) -> tuple[float, ...]:
    return tuple(np.unique(column[~np.isnan(column)]).tolist())


def _check_declaration(label: str, use: ModalityUse) -> None:
    """Check that a dataset's declaration of its columns is consistent."""
    known = frozenset(use.features)
    if use.features and (len(use.features) != use.dim or len(known) != use.dim):
        raise DataError(f"modality {label!r}: {use.dim} columns but {len(known)} distinct names; name each column once")
    for what, names in [("categorical", use.categorical), *((f"group {g}", m) for g, m in use.groups.items())]:
        unknown = sorted(frozenset(names) - known)
        if unknown:
            raise DataError(
                f"modality {label!r}: {what} names {_listed(unknown)}, not among the columns; leave them out"
            )


def _difference(use: ModalityUse, columns: Iterable[str], dim: int) -> str:
    absent = [name for name in columns if name not in use.features]
    surplus = [name for name in use.features if name not in set(columns)]
    parts = [f"absent {_listed(absent)}"] if absent else []
    parts += [f"new {_listed(surplus)}"] if surplus else []
    return ", ".join(parts) or f"{use.dim} in another order or number than the {dim} fitted on"


def _listed(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
