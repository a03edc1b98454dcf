"""Imputation, robust clipping and scaling of numeric columns, fitted on training rows; numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SMALLEST_SD = float(np.finfo(np.float32).tiny)
"""Standard deviations below this count as constant: their inverse is no finite float32."""


@dataclass(frozen=True, eq=False)
class ColumnScaling:
    """Fitted preprocessing of columns: x becomes (clip(impute(x), lower, upper) - center) * factor.

    Attributes (each (column,) float64):
        fill: value of a missing cell.
        lower, upper: bounds of clipping; None = no clipping.
        center: subtracted.
        factor: multiplied; 0 for a column that is constant in training.
    """

    fill: Floats
    center: Floats
    factor: Floats
    lower: Floats | None = None
    upper: Floats | None = None

    def __call__(self, x: Floats) -> Floats:
        """Apply to (row, column) values, NaN = missing; a finite array of the same shape."""
        z = np.where(np.isnan(x), self.fill, x)
        if self.lower is not None:
            np.clip(z, self.lower, self.upper, out=z)
        z -= self.center  # in place: allocating another array takes longer than the subtraction
        z *= self.factor
        return z

    def state(self) -> Mapping[str, Any]:
        """The fitted values as JSON values."""
        return {name: None if value is None else value.tolist() for name, value in asdict(self).items()}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> ColumnScaling:
        """The scaling whose `state` this is."""
        arrays = {name: np.array(value, dtype=np.float64) for name, value in state.items() if value is not None}
        return cls(**arrays)


def fit_columns(
    x: Floats, *, clip: float | None, scale: bool, impute: Literal["median", "mean"] = "median"
) -> ColumnScaling:
    """Fit the preprocessing of each column.

    Args:
        x: (row, column) training rows; NaN = missing, never infinite. A column without any value becomes 0.
        clip: largest distance from the median, in units of `clip_unit`; None = no clipping.
        scale: to mean 0 and standard deviation 1 (of the imputed, clipped training rows); constant columns to 0.
        impute: value of a missing cell; the bounds of clipping are around the median in either case.
    """
    ordered = np.sort(x, axis=0)  # NaN is sorted last: the first `count` rows of a column are its values
    count = np.sum(~np.isnan(x), axis=0)
    # The mean of the two middle values; 0 for an empty column.
    median = np.nan_to_num((_at(ordered, (count - 1) // 2) + _at(ordered, count // 2)) / 2)
    lower = upper = None
    if clip is not None:
        reach = clip * clip_unit(x, ordered, count, median)
        lower, upper = median - reach, median + reach
    width = x.shape[1]
    mean = np.where(np.isnan(x), 0.0, x).sum(axis=0) / np.maximum(count, 1)
    fill = mean if impute == "mean" else median
    unscaled = ColumnScaling(fill, np.zeros(width), np.where(count > 0, 1.0, 0.0), lower, upper)
    if not scale:
        return unscaled
    z = unscaled(x)
    sd = z.std(axis=0)  # ddof 0
    # Equal values can have a standard deviation above 0 by rounding, so they are compared as well.
    constant = (z.min(axis=0) == z.max(axis=0)) | (sd < SMALLEST_SD)
    factor = np.where(constant, 0.0, 1 / np.where(constant, 1.0, sd))
    return ColumnScaling(fill, z.mean(axis=0), factor, lower, upper)


def clip_unit(x: Floats, ordered: Floats, count: NDArray[np.int64], median: Floats) -> Floats:
    """(column,) unit in which a cell's distance from the median is measured.

    It is the interquartile range, between observed values. Where that is 0, at least half of the cells equal the median
    and the others hold the column's information (a mutation, a copy number gain, a gene that is seldom expressed): the
    unit is then the median distance of the cells that are not at the median. So codes such as 0/1 and GISTIC's -2..2
    are unchanged at clip >= 2, however rare they are, while an outlier among rare values is still clipped. Clipping at
    a training percentile would erase whatever is rarer than that percentile.

    Args:
        x: (row, column), NaN = missing. ordered: `x` sorted along rows, NaN last. count: (column,) values.
    """
    unit = np.nan_to_num(_at(ordered, _rank(count, 0.75)) - _at(ordered, _rank(count, 0.25)))
    flat = np.flatnonzero(unit == 0)
    away = np.abs(x[:, flat] - median[flat])
    away[away == 0] = np.nan
    n_away = np.sum(~np.isnan(away), axis=0)
    unit[flat] = np.nan_to_num(_at(np.sort(away, axis=0), _rank(n_away, 0.5)))
    return unit


def _rank(count: NDArray[np.int64], quantile: float) -> NDArray[np.int64]:
    """(column,) position, in sorted order, of the smallest value with at least this share of values at or below it."""
    return np.asarray(np.ceil(quantile * count).astype(np.int64) - 1)


def _at(ordered: Floats, position: NDArray[np.int64]) -> Floats:
    """(column,) the value at `position` of each column; NaN where the column is empty."""
    return np.asarray(np.take_along_axis(ordered, np.maximum(position, 0)[np.newaxis], axis=0)[0])
