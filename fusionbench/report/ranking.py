"""The best row of a dataset, pattern and metric, and the rows that do not differ from it significantly."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fusionbench.report.bootstrap import BootstrapDraws, bootstrap
from fusionbench.report.model import FULL, RANKINGS, CheckedFrames, MeanKey, RowKey, is_oracle, unique
from fusionbench.report.paired import FoldValues, adjusted, comparison, fold_mean
from fusionbench.report.predictions import blocks, fold_predictions, follow_up_of
from fusionbench.survival.stats import best_position

ALPHA = 0.05
TIED = "a"

BlockDraws = Mapping[tuple[str, str], tuple[int, BootstrapDraws]]
"""(dataset, variant) to the number of its block of comparable variants and that block's bootstrap."""


@dataclass(frozen=True)
class Ranking:
    """The best rows with their comparisons.

    Attributes:
        comparisons: PAIR_COLUMNS; a is the best row, b each other row.
        best: keys of the best means.
        tied: keys of the best means and of those not significantly different from them; none where no row could be
            tested, with one fold.
    """

    comparisons: list[dict[str, Any]] = field(default_factory=list)
    best: set[MeanKey] = field(default_factory=set)
    tied: set[MeanKey] = field(default_factory=set)


def primary_metric(directions: Mapping[str, bool | None], scored: Container[str]) -> str | None:
    """The metric by which rows are sorted: Harrell's c or the AUROC, else the first metric that has a direction.

    Args:
        directions: metric to higher_is_better, in the suite's order.
        scored: metrics of which some row has a value.

    Returns:
        None where no metric that has a direction is scored.
    """
    ranked = [name for name, higher in directions.items() if higher is not None and name in scored]
    return next((name for name in ranked if name in RANKINGS), next(iter(ranked), None))


def primary_metrics(rows: pd.DataFrame, directions: Mapping[str, bool | None]) -> dict[str, str | None]:
    """Dataset to the metric by which its rows are sorted; datasets with follow-up and with classes have different ones.

    Args:
        rows: TABLE_COLUMNS. Means with all modalities count, or any where there are none.
    """
    scored = rows[rows["mean"].notna()]
    full = scored[scored["pattern"] == FULL]
    made: dict[str, str | None] = {}
    for dataset, of in rows.groupby("dataset", sort=False, observed=True):
        name = str(dataset)
        mine = full[full["dataset"] == name]
        made[name] = primary_metric(directions, set(mine["metric"] if len(mine) else of["metric"]))
    return made


def bootstrap_variants(stored: CheckedFrames, *, seed: int, draws: int) -> BlockDraws:
    """Bootstrap draws of every dataset and variant; variants whose test folds hold the same cases share them."""
    made: dict[tuple[str, str], tuple[int, BootstrapDraws]] = {}
    for dataset in unique(stored.cells["dataset"]):
        cohort = follow_up_of(stored, dataset)
        parts = fold_predictions(stored.predictions, cohort)
        numbers = blocks(parts, unique(stored.cells.loc[stored.cells["dataset"] == dataset, "variant"]))
        for number in set(numbers.values()):
            members = [part for part in parts if numbers[part.line[0][3]] == number]
            sample = bootstrap(members, cohort, seed=seed, draws=draws)
            made |= {(dataset, v): (number, sample) for v, n in numbers.items() if n == number}
    return made


def rank(
    stored: CheckedFrames, values: FoldValues, draws_by_variant: BlockDraws, incomplete: Container[MeanKey]
) -> Ranking:
    """Compare the rows of each dataset, block of variants, pattern and metric with the best of them.

    The oracle baseline, metrics without direction and rows without a value are not ranked, nor is a single row.

    Args:
        incomplete: means that lack folds. They are compared on the folds that they have, are neither best nor tied,
            and do not count in Holm's adjustment.
    """
    families: dict[tuple[str, int, str, str], list[RowKey]] = {}
    for (row, pattern, metric), of in values.items():
        if of and not is_oracle(row[1]) and stored.directions[metric] is not None:
            block = draws_by_variant[row[0], row[3]][0]
            families.setdefault((row[0], block, pattern, metric), []).append(row)
    ranking = Ranking()
    for (_, _, pattern, metric), rows in families.items():
        if len(rows) > 1:
            _rank_family(ranking, stored, values, rows, pattern, metric, draws_by_variant, incomplete)
    return ranking


def _rank_family(
    ranking: Ranking,
    stored: CheckedFrames,
    values: FoldValues,
    rows: Sequence[RowKey],
    pattern: str,
    metric: str,
    draws_by_variant: BlockDraws,
    incomplete: Container[MeanKey],
) -> None:
    folds = {row: values[row, pattern, metric] for row in rows}
    complete = [row for row in rows if (row, pattern, metric) not in incomplete]
    means = np.asarray([fold_mean(folds[row]) for row in complete])
    position = best_position(means, bool(stored.directions[metric]))
    if position is None:
        return
    best = complete[position]
    others = [row for row in rows if row != best]
    sample = draws_by_variant[best[0], best[3]][1] if metric in RANKINGS else None
    lines = {row: comparison(stored, (best, row), pattern, metric, (folds[best], folds[row]), sample) for row in others}
    # Holm over the comparisons of complete rows with the best one: these are all that the table decides.
    ranked = [row for row in others if row in complete]
    lines |= zip(ranked, adjusted([lines[row] for row in ranked]), strict=True)
    ranking.comparisons.extend({"p_holm": math.nan, **line} for line in lines.values())
    ranking.best.add((best, pattern, metric))
    if ranked and not any(lines[row]["df"] for row in ranked):
        return  # with one fold nothing is tested: a mark on every row would say nothing
    # A p of NaN (too few common folds) is no evidence of a difference: the row stays tied.
    tied = [best, *(row for row in ranked if not lines[row]["p_holm"] <= ALPHA)]
    ranking.tied.update((row, pattern, metric) for row in tied)
