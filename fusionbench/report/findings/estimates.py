"""Numbers of a table's rows with their bootstrap intervals: means, and differences between two of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import sub
from typing import Any

import numpy as np

from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.seeds import derive
from fusionbench.report.analysis import Analysis
from fusionbench.report.bootstrap import BootstrapDraws
from fusionbench.report.estimate import Estimate
from fusionbench.report.model import FULL, RANKINGS, FoldCount, FoldKey, RowKey, row_key
from fusionbench.report.paired import fold_mean
from fusionbench.report.predictions import RowPattern
from fusionbench.results.frames import ROW
from fusionbench.survival.stats import percentile_interval
from fusionbench.survival.stats.concordance import Floats

Statistic = Callable[[Any, Any], Any]
"""Of two means, or of two arrays of draws."""


@dataclass(frozen=True)
class RowComparison(Estimate):
    """A statistic of two rows.

    Attributes:
        paired: both were scored on the same cases with the same draws.
    """

    paired: bool = False


@dataclass(frozen=True)
class RowMean:
    """A mean of the table with its bootstrap draws.

    Attributes:
        block: rows of one block were scored on the same test cases, with the same draws.
        draws: (draw,) bootstrap means; None where there are none.
        folds: fold to value.
        n_folds, n_wanted: folds behind the mean, and folds planned.
        complete: no fold is lacking that some other row has; a mean that lacks folds decides nothing.
        identity: which cohort the row's dataset is, wherever its files lie.
    """

    row: RowKey
    mean: float
    sd: float
    low: float
    high: float
    block: int
    draws: Floats | None
    folds: Mapping[FoldKey, float]
    n_folds: int
    n_wanted: int
    complete: bool
    identity: str

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
    def count(self) -> str:
        """`3 of 5 folds`."""
        return str(FoldCount(self.n_folds, self.n_wanted))

    @property
    def text(self) -> str:
        """`mean ± sd [low, high]`, and of how many folds where some are missing."""
        spread = "" if math.isnan(self.sd) else f" ± {self.sd:.3f}"
        interval = "" if math.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]"
        part = f" ({self.count})" if self.n_folds < self.n_wanted else ""
        return f"{self.mean:.3f}{spread}{interval}{part}"


def row_means(analysis: Analysis, pattern: str = FULL, metric: str | None = None) -> list[RowMean]:
    """Every row that has a mean of this pattern and metric, in the table's order; None: Harrell's c or the AUROC."""
    rows = analysis.table.rows
    wanted = rows["metric"].isin(RANKINGS) if metric is None else rows["metric"] == metric
    chosen = rows[(rows["pattern"] == pattern) & wanted & rows["mean"].notna()]
    made = []
    for line in chosen.to_dict("records"):
        row, scored = row_key(line[name] for name in ROW), str(line["metric"])
        block, sample = analysis.bootstraps[row[0], row[3]]
        draws = sample.draws.get((row, pattern)) if scored in RANKINGS else None
        mean, sd, low, high = (float(line[name]) for name in ("mean", "sd", "ci_low", "ci_high"))
        folds = analysis.values[row, pattern, scored]
        planned = len(analysis.stored.plans[row[0], row[3]].test_to_train)
        complete = analysis.lacking(row, pattern, scored) is None
        identity = analysis.stored.identity(row[0])
        made.append(RowMean(row, mean, sd, low, high, block, draws, folds, len(folds), planned, complete, identity))
    return made


def difference_between(
    sample: BootstrapDraws, values: tuple[Mapping[FoldKey, float], ...], one: RowPattern, other: RowPattern
) -> Estimate:
    """c of one minus c of the other over the folds that both have, paired by draw.

    Draws are means over a row's own folds: where one row lacks a fold of the other there is no interval.
    """
    first, second = values
    common = common_folds(first, second)
    value = fold_mean({fold: first[fold] - second[fold] for fold in common})
    same = first.keys() == second.keys()
    paired = same and one in sample.draws and other in sample.draws
    draws = sample.draws[one] - sample.draws[other] if paired else None
    return Estimate.of(value, draws, "" if same else f"on {len(common)} common folds")


def common_folds(one: Mapping[FoldKey, float], other: Mapping[FoldKey, float]) -> list[FoldKey]:
    """The folds that both have, in the order of the first."""
    return [fold for fold in one if fold in other]


def bootstrap_of(analysis: Analysis, row: RowKey) -> BootstrapDraws:
    """The draws of the row's block."""
    return analysis.bootstraps[row[0], row[3]][1]


def fold_c(analysis: Analysis, line: RowPattern) -> Mapping[FoldKey, float]:
    """Fold to c, as it was scored."""
    return analysis.values.get((line[0], line[1], analysis.stored.ranking(line[0][0])), {})


def c_draws(analysis: Analysis, line: RowPattern) -> Floats | None:
    """(draw,) bootstrap values of c of a row under a pattern; None where there are none."""
    return bootstrap_of(analysis, line[0]).draws.get(line)


def c_estimate(analysis: Analysis, line: RowPattern) -> Estimate:
    """Harrell's c of a row under a pattern."""
    lacking = analysis.lacking(*line)
    return Estimate.of(fold_mean(fold_c(analysis, line)), c_draws(analysis, line), str(lacking or ""))


def c_difference(analysis: Analysis, one: RowPattern, other: RowPattern) -> Estimate:
    """c of one minus c of the other, paired by fold and by draw."""
    values = (fold_c(analysis, one), fold_c(analysis, other))
    difference = difference_between(bootstrap_of(analysis, one[0]), values, one, other)
    return replace(difference, folds=on_folds(analysis, one, other))


def on_folds(analysis: Analysis, one: RowPattern, other: RowPattern) -> str:
    """`on 3 of 5 folds`, where one of two lines lacks folds; empty where both are complete."""
    lacking = analysis.lacking(*one) or analysis.lacking(*other)
    if lacking is None:
        return ""
    common = common_folds(fold_c(analysis, one), fold_c(analysis, other))
    return f"on {lacking._replace(n_folds=len(common))}"


def relative_gain(one: Any, other: Any) -> Any:
    """By how many per cent `one` is larger."""
    return 100 * (one / other - 1)


def compare_rows(one: RowMean, other: RowMean, statistic: Statistic = sub) -> RowComparison:
    """`statistic` of two rows: with the same draws where they were scored on the same cases, else independent ones.

    Where a row lacks folds there is no interval; rows that were scored on the same cases are compared on common folds.
    """
    paired = one.row[0] == other.row[0] and one.block == other.block
    if not (one.complete and other.complete):
        return _of_incomplete(one, other, statistic, paired=paired)
    value = float(statistic(one.mean, other.mean))
    if one.draws is None or other.draws is None:
        return RowComparison(value, paired=paired)
    theirs = other.draws if paired else _shuffled(other.draws, other)
    interval = percentile_interval(np.asarray(statistic(one.draws, theirs), dtype=np.float64))
    return RowComparison(value, *interval, paired=paired)


def _of_incomplete(one: RowMean, other: RowMean, statistic: Statistic, *, paired: bool) -> RowComparison:
    if not paired:
        folds = f"{one.count} and {other.count}"
        return RowComparison(float(statistic(one.mean, other.mean)), folds=folds)
    common = common_folds(one.folds, other.folds)
    means = (fold_mean({fold: row.folds[fold] for fold in common}) for row in (one, other))
    value = float(statistic(*means)) if common else math.nan
    count = FoldCount(len(common), max(one.n_wanted, other.n_wanted))
    return RowComparison(value, folds=f"on {count}", paired=True)


def _shuffled(draws: Floats, row: RowMean) -> Floats:
    """The draws in another order: blocks of a dataset share a seed, so in the same order they would be dependent.

    Cohorts of the user's own files share one, too.
    """
    order = np.random.default_rng(derive(0, "unpaired", row.identity, *row.row[1:])).permutation(len(draws))
    return np.asarray(draws[order], dtype=np.float64)
