"""Rows of a table with the draws behind them, and differences between two of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.seeds import derive
from fusionbench.report.analysis import Analysis
from fusionbench.report.document import Entry
from fusionbench.report.model import FULL, HARRELL, Row, as_row
from fusionbench.survival.stats import percentile_interval
from fusionbench.survival.stats.concordance import Floats

Statistic = Callable[[Any, Any], Any]
"""Of two means or of two arrays of draws."""


@dataclass(frozen=True)
class RowMean:
    """One mean of the table.

    Attributes:
        block: rows of one block were scored on the same test cases, with the same draws.
        draws: (draw,) bootstrap means; None where there are none.
        n_folds, n_wanted: folds behind the mean, and folds that the row has.
    """

    row: Row
    mean: float
    sd: float
    low: float
    high: float
    block: int
    draws: Floats | None
    n_folds: int
    n_wanted: int

    @property
    def dataset(self) -> str:
        """The name of the dataset, without its options."""
        return PluginRef.parse(self.row[0]).name

    @property
    def model(self) -> str:
        """The name of the model, without its options."""
        return self.row[1].partition("[")[0]

    @property
    def variant(self) -> str:
        """The variant's name."""
        return self.row[3]

    @property
    def text(self) -> str:
        """`mean ± sd [low, high]`, and of how many folds where some are missing."""
        spread = "" if math.isnan(self.sd) else f" ± {self.sd:.3f}"
        interval = "" if math.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]"
        part = f" ({self.n_folds} of {self.n_wanted} folds)" if self.n_folds < self.n_wanted else ""
        return f"{self.mean:.3f}{spread}{interval}{part}"


def row_means(analysis: Analysis, pattern: str = FULL, metric: str = HARRELL) -> list[RowMean]:
    """Every row that has a mean of this pattern and metric, in the table's order."""
    rows = analysis.table.rows
    chosen = rows[(rows["pattern"] == pattern) & (rows["metric"] == metric) & rows["mean"].notna()]
    wanted = analysis.stored.cells.groupby(["dataset", "model", "modalities", "variant"], observed=True).size()
    made = []
    for line in chosen.to_dict("records"):
        row = as_row(line[name] for name in ("dataset", "model", "modalities", "variant"))
        block, sample = analysis.samples[row[0], row[3]]
        draws = sample.draws.get((row, pattern)) if metric == HARRELL else None
        mean, sd, low, high = (float(line[name]) for name in ("mean", "sd", "ci_low", "ci_high"))
        made.append(RowMean(row, mean, sd, low, high, block, draws, int(line["n_folds"]), int(wanted[row])))
    return made


def matching_rows(rows: Iterable[RowMean], dataset: str, model: str, modalities: str) -> list[RowMean]:
    """The rows that a published name stands for: any options of the dataset; the model as written, or with any options
    where none is written so."""
    ref = PluginRef.parse(dataset)
    there = [r for r in rows if ref in (PluginRef.parse(r.row[0]), PluginRef(r.dataset)) and r.row[2] == modalities]
    exact = [r for r in there if r.row[1] == model]
    return exact or [r for r in there if r.model == model]


@dataclass(frozen=True)
class RowComparison:
    """A statistic of two rows with its 95 % interval; NaN where there are no draws."""

    value: float
    low: float
    high: float
    paired: bool

    def text(self, digits: int = 3, unit: str = "") -> str:
        """`value [low, high]`, signed."""
        interval = "" if math.isnan(self.low) else f" [{self.low:+.{digits}f}, {self.high:+.{digits}f}]"
        return f"{self.value:+.{digits}f}{unit}{interval}"


def minus(one: Any, other: Any) -> Any:
    """The difference of two means, or of two arrays of draws."""
    return one - other


def relative_gain(one: Any, other: Any) -> Any:
    """By how many per cent `one` is larger."""
    return 100 * (one / other - 1)


def compare_rows(one: RowMean, other: RowMean, statistic: Statistic = minus) -> RowComparison:
    """`statistic` of two rows: with the same draws where they were scored on the same cases, else independent ones."""
    value = float(statistic(one.mean, other.mean))
    same = one.row[0] == other.row[0]
    paired = same and one.block == other.block
    if one.draws is None or other.draws is None:
        return RowComparison(value, math.nan, math.nan, paired)
    theirs = other.draws if paired else _shuffled(other.draws, other.row)
    return RowComparison(
        value, *percentile_interval(np.asarray(statistic(one.draws, theirs), dtype=np.float64)), paired
    )


def _shuffled(draws: Floats, row: Row) -> Floats:
    """The draws in another order: blocks of a dataset share a seed, so in the same order they would be dependent."""
    order = np.random.default_rng(derive(0, "unpaired", *row)).permutation(len(draws))
    return np.asarray(draws[order], dtype=np.float64)


def entries(*texts: object, strong: Sequence[int] = ()) -> tuple[Entry, ...]:
    """A line of a grid."""
    return tuple(Entry(str(text), i in strong) for i, text in enumerate(texts))
