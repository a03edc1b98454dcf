"""The vector modality: one row of named columns per case, such as clinical covariates or omics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from fusionbench.builtin.columns import ColumnScaling, fit_columns
from fusionbench.core.errors import DataError
from fusionbench.core.interfaces import FittedModality, Modality
from fusionbench.core.options import Options as BaseOptions
from fusionbench.core.types import ModalitySpec, ModalityUse, RawBag

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Floats = NDArray[np.float64]


ABSENT = -1
"""Position of a column that a cohort lacks."""
MANY_UNKNOWN = 0.05
"""Above this share of cases with an unknown level, what is said of them has a warning."""


class VectorOptions(BaseOptions):
    """Preprocessing of columns.

    Attributes:
        clip: largest distance from the median, in interquartile ranges (`columns.clip_unit`); None = no clipping.
            At 5 a normal column is unchanged (6.7 sd). On the RNA columns of TCGA BLCA, BRCA and KIRP it clips 2 % of
            the cells, and the share of columns with most of their variance in one cell falls from 11-16 % to about 1 %.
        scale: to mean 0 and standard deviation 1.
        impute: value of a missing cell, over the training cases.
        max_absent: largest share of the columns that a model was fitted on which a new cohort may lack when it is
            predicted on; such columns get the imputed value.
    """

    clip: float | None = Field(5.0, gt=0)
    scale: bool = True
    impute: Literal["median", "mean"] = "median"
    max_absent: float = Field(0.5, ge=0, lt=1)


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
        scaling = fit_columns(x, clip=self.options.clip, scale=self.options.scale, impute=self.options.impute)
        # Levels of training cases only: those of others must not be known.
        levels = {i: _levels(x[:, i]) for i, name in enumerate(self.use.features) if name in self.use.categorical}
        layout, spec = Layout(scaling, levels), self._spec(levels)
        if spec.dim == 0:
            raise DataError("no training case has a value in any column; leave the modality out or take other folds")
        empty = [self._column(int(i)) for i in np.flatnonzero(np.isnan(x).all(axis=0))]
        notes = (f"no training case has a value in {_listed(empty)}: imputed as 0",) if empty else ()
        return FittedVector(spec, self.use, layout, layout(x).mean(axis=0), notes)

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
        return FittedVector(self._spec(levels), self.use, Layout(scaling, levels), average, tuple(state["notes"]))

    def check_new_cohort(self, trained: ModalityUse) -> None:
        """Refuse a cohort whose columns are too few, or of another kind; see `restore_for_new_cohort`."""
        if not (trained.features and self.use.features):
            if trained.dim != self.use.dim:
                raise DataError(
                    f"modality {self.label!r}: {trained.dim} columns in training and {self.use.dim} here, without "
                    "names to match them by; name them in both cohorts"
                )
            return
        place = frozenset(self.use.features)
        self._check_columns(trained, [name for name in trained.features if name not in place])

    def restore_for_new_cohort(self, state: Mapping[str, Any], trained: ModalityUse) -> FittedVector:
        """The fitted vector, with this cohort's columns matched by name to those it was fitted on.

        Their order does not matter. Columns that it was not fitted on are left out; columns that this cohort lacks get
        the imputed value.

        Raises:
            DataError: no column is the same, or more are absent than the option `max_absent` allows; a column holds
                levels in one cohort and numbers in the other; columns have no names and their number differs.
        """
        fitted = Vector(self.label, trained, self.options).restore(state)
        if not (trained.features and self.use.features):
            return self.restore(state)
        if (trained.features, trained.categorical) == (self.use.features, self.use.categorical):
            return fitted  # its own cohort's columns, as for each member of a cell
        place = {name: i for i, name in enumerate(self.use.features)}
        absent = [name for name in trained.features if name not in place]
        self._check_columns(trained, absent)
        order = np.array([place.get(name, ABSENT) for name in trained.features], dtype=np.int64)
        known = frozenset(trained.features)
        surplus = [name for name in self.use.features if name not in known]
        lines = [f"{_columns(absent)} absent here: imputed as in training"] if absent else []
        lines += [f"{_columns(surplus)} not among those that it was fitted on: left out"] if surplus else []
        return replace(fitted, order=order, matched=tuple(lines))

    def _check_columns(self, trained: ModalityUse, absent: list[str]) -> None:
        """Refuse a cohort whose columns are too few, or of another kind."""
        where, share = f"modality {self.label!r}", len(absent) / len(trained.features)
        if share == 1:
            seen = f"it has {_listed([*self.use.features])}"
            raise DataError(f"{where}: none of the columns that it was fitted on ({_listed(absent)}) is here; {seen}")
        if share > self.options.max_absent:
            raise DataError(
                f"{where}: {len(absent)} of the {len(trained.features)} columns that it was fitted on are absent "
                f"({_listed(absent)}), more than max_absent = {self.options.max_absent:g} allows; add them, or raise "
                "this option of the modality"
            )
        here = frozenset(self.use.features)
        for name in trained.features:
            if name in here and (name in trained.categorical) != (name in self.use.categorical):
                held = [f"{_texts(use, name)} {when}" for use, when in ((trained, "in training"), (self.use, "here"))]
                raise DataError(f"{where}, column {name!r}: {', '.join(held)}; write the column alike in both cohorts")

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
        places: dict[str, list[int]] = {}
        for j, i in enumerate(raw if self.use.groups else ()):
            places.setdefault(columns[i], []).append(j)
        groups = {
            group: tuple(sorted(j for column in frozenset(members) for j in places.get(column, ())))
            for group, members in self.use.groups.items()
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
        use: how the cohort that it was fitted on declares its columns.
        average: (feature,) mean of the prepared training rows.
        notes: one line each, for the cell's record.
        order: (column,) where a new cohort's rows have each column; ABSENT where they lack it. None: as in training.
        matched: how a new cohort's columns differ, one line each.
    """

    spec: ModalitySpec
    use: ModalityUse
    layout: Layout
    average: Floats
    notes: tuple[str, ...] = ()
    order: NDArray[np.int64] | None = None
    matched: tuple[str, ...] = ()

    def __call__(self, raw: RawBag) -> Tensor:
        return _tensor(self.layout(self._columns_of(raw)))

    def _columns_of(self, raw: RawBag) -> Floats:
        """(case, column) raw values in the order of training; NaN in a column that the cohort lacks."""
        values = raw.values.astype(np.float64, copy=False)
        return values if self.order is None else np.where(self.order == ABSENT, np.nan, values[:, self.order])

    def differences(self, raws: Iterable[RawBag]) -> Sequence[str]:
        """Columns that differ by name, and levels of a category that no training case has."""
        rows = [self._columns_of(raw) for raw in raws]
        if not rows:
            return self.matched
        x, lines = np.concatenate(rows), [*self.matched]
        for i, levels in self.layout.levels.items():
            unknown = ~np.isnan(x[:, i]) & ~np.isin(x[:, i], levels)
            if unknown.any():
                share, name = unknown.mean(), self.use.features[i]
                doubt = "; the model knows nothing of them by this column" if share > MANY_UNKNOWN else ""
                seen = f"{unknown.sum()} of {len(x)} cases ({share:.0%})"
                lines.append(f"column {name!r}: {seen} have a level that no training case has{doubt}")
        return lines

    def mean(self) -> Tensor:
        return _tensor(self.average)

    def state(self) -> Mapping[str, Any]:
        return {
            "columns": list(self.use.features),
            "numbers": self.layout.scaling.state(),
            "levels": {str(i): list(values) for i, values in self.layout.levels.items()},
            "mean": self.average.tolist(),
            "notes": list(self.notes),
        }


def _tensor(values: Floats) -> Tensor:
    import torch  # here, so that listing plugins does not load it

    return torch.from_numpy(values.astype(np.float32))


def _columns(names: list[str]) -> str:
    """`1 column (age) is` or `2 columns (age, sex) are`."""
    return f"1 column ({names[0]}) is" if len(names) == 1 else f"{len(names)} columns ({_listed(names)}) are"


def _texts(use: ModalityUse, column: str) -> str:
    """What a column holds, for a message."""
    if column not in use.categorical:
        return "numbers"
    return f"levels ({_listed(sorted(repr(text) for text in use.levels.get(column, {}).values()))})".replace(" ()", "")


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
