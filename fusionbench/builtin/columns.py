"""Imputation, robust clipping and scaling of numeric columns: pure numpy, fitted on the rows it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SMALLEST_SD = float(np.finfo(np.float32).tiny)
"""What spreads less is constant: its inverse is no float32."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """What is done to each column, in this order; (column,) float64 each.

    Attributes:
        fill: put in place of a missing cell.
        lower, upper: bounds of what is left as it is; None = no clipping.
        center: subtracted.
        factor: multiplied; 0 for a column that is constant in training.
    """

    fill: Floats
    center: Floats
    factor: Floats
    lower: Floats | None = None
    upper: Floats | None = None

    def __call__(self, x: Floats) -> Floats:
        """(row, column) with NaN = missing to the same shape, finite."""
        made = np.where(np.isnan(x), self.fill, x)
        if self.lower is not None:
            np.clip(made, self.lower, self.upper, out=made)
        made -= self.center  # in place: memory of an array's own costs more than the subtraction
        made *= self.factor
        return made

    def state(self) -> Mapping[str, Any]:
        """The numbers as JSON values."""
        return {name: None if value is None else value.tolist() for name, value in asdict(self).items()}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Numbers:
        """The inverse of `state`."""
        arrays = {name: np.array(value, dtype=np.float64) for name, value in state.items() if value is not None}
        return cls(**arrays)


def fit_numbers(x: Floats, *, clip: float | None, scale: bool, impute: Literal["median", "mean"] = "median") -> Numbers:
    """Learn what to do to each column.

    Args:
        impute: what stands for a missing cell; the bounds of clipping are around the median all the same.
        x: (row, column) training rows; NaN = missing, never infinite. A column without any value becomes 0.
        clip: largest distance from the median, in units of `clip_unit`; None = no clipping.
        scale: to mean 0 and standard deviation 1 (of the imputed, clipped training rows); constant columns to 0.
    """
    ordered = np.sort(x, axis=0)  # missing cells last
    count = np.sum(~np.isnan(x), axis=0)
    median = np.nan_to_num((_at(ordered, (count - 1) // 2) + _at(ordered, count // 2)) / 2)
    lower = upper = None
    if clip is not None:
        reach = clip * clip_unit(x, ordered, count, median)
        lower, upper = median - reach, median + reach
    width = x.shape[1]
    mean = np.where(np.isnan(x), 0.0, x).sum(axis=0) / np.maximum(count, 1)
    fill = mean if impute == "mean" else median
    unscaled = Numbers(fill, np.zeros(width), np.where(count > 0, 1.0, 0.0), lower, upper)
    if not scale:
        return unscaled
    z = unscaled(x)
    sd = z.std(axis=0)
    constant = (z.min(axis=0) == z.max(axis=0)) | (sd < SMALLEST_SD)
    factor = np.where(constant, 0.0, 1 / np.where(constant, 1.0, sd))
    return Numbers(fill, z.mean(axis=0), factor, lower, upper)


def clip_unit(x: Floats, ordered: Floats, count: NDArray[np.int64], median: Floats) -> Floats:
    """The unit in which a cell's distance from the median is measured, (column,).

    The interquartile range, between observed values. Where it is 0, more than half of the cells equal the median
    and the others are what the column has to say (a mutation, a copy number gain, a gene hardly ever expressed):
    there the unit is the median distance of the cells that are not at the median. So codes such as 0/1 and GISTIC's
    -2..2 pass unchanged at clip >= 2, however rare they are, while an outlier among rare values is still cut; a
    training percentile in its place would erase whatever is rarer than that percentile.
    """
    unit = np.nan_to_num(_at(ordered, _rank(count, 0.75)) - _at(ordered, _rank(count, 0.25)))
    flat = np.flatnonzero(unit == 0)
    away = np.abs(x[:, flat] - median[flat])
    away[away == 0] = np.nan
    n_away = np.sum(~np.isnan(away), axis=0)
    unit[flat] = np.nan_to_num(_at(np.sort(away, axis=0), _rank(n_away, 0.5)))
    return unit


def _rank(count: NDArray[np.int64], quantile: float) -> NDArray[np.int64]:
    """Position of an observed value: the smallest with at least that share of the values at or below it."""
    return np.asarray(np.ceil(quantile * count).astype(np.int64) - 1)


def _at(ordered: Floats, position: NDArray[np.int64]) -> Floats:
    """(column,) the value at `position` of each column; NaN where the column is empty."""
    return np.asarray(np.take_along_axis(ordered, np.maximum(position, 0)[np.newaxis], axis=0)[0])
