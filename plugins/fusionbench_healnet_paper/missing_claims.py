"""Claims on missing modalities: one modality visible at test, and training on cases that lack some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fusionbench.report.api import (
    FULL,
    Analysis,
    Estimate,
    RowMean,
    compare_rows,
    matching_rows,
    patterns_of,
    row_means,
)
from fusionbench_healnet_paper.training_claims import Claim, CohortVerdict

CHANCE = 0.5

_Pair = tuple[RowMean, RowMean]


def no_worse_alone(claim: Claim, analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[CohortVerdict]:
    """A fused model that sees one modality at test is as good as the model trained on that modality alone.

    Held is the mean of the differences over modalities: above minus the threshold it holds, below it does not.
    """
    margin = float(claim["threshold"])
    rows = row_means(analysis)
    for row in _fused(claim, rows):
        pairs = list(_alone(analysis, row, rows))
        if pairs:
            gap = _mean_difference(pairs)
            holds = True if gap.low > -margin else False if gap.high < -margin else None
            worst = min(pairs, key=lambda pair: compare_rows(*pair).value)
            text = f"{gap.text(signed=True)} over {len(pairs)} modalities, {_one(*worst)}, margin {margin:g}"
            yield CohortVerdict(row.row[0], text, holds)


def _fused(claim: Claim, rows: Sequence[RowMean]) -> Iterator[RowMean]:
    """The claim's model on the modalities it names, or on the most that a dataset has."""
    for dataset in claim["datasets"].split():
        of = [r for r in rows if r.dataset == dataset and r.variant == claim["variant"] and "+" in r.row[2]]
        largest = max((r.row[2] for r in of), key=lambda sets: sets.count("+"), default="")
        yield from matching_rows(of, dataset, claim["model"], claim["modalities"] or largest)


def _alone(analysis: Analysis, row: RowMean, rows: Sequence[RowMean]) -> Iterator[_Pair]:
    """(the row where one modality is visible, the same model trained on that modality)."""
    for pattern in patterns_of(analysis, [row.row], "only"):
        name = pattern.partition(":")[2]
        visible = [r for r in row_means(analysis, pattern) if r.row == row.row]
        trained = [r for r in rows if r.row == (*row.row[:2], name, row.variant)]
        yield from zip(visible, trained, strict=False)


def _mean_difference(pairs: Sequence[_Pair]) -> Estimate:
    """Over modalities, from the same draws; without an interval where a row lacks draws or folds."""
    compared = [compare_rows(one, other) for one, other in pairs]
    value, folds = float(np.mean([of.value for of in compared])), "; ".join(of.folds for of in compared if of.folds)
    whole = all(row.complete for pair in pairs for row in pair)
    draws = [one.draws - other.draws for one, other in pairs if one.draws is not None and other.draws is not None]
    return Estimate.of(value, np.mean(draws, axis=0) if whole and len(draws) == len(pairs) else None, folds)


def _one(visible: RowMean, trained: RowMean) -> str:
    return f"least on {trained.row[2]} {compare_rows(visible, trained).value:+.3f}"


def learns(claim: Claim, analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[CohortVerdict]:
    """Trained under the variant, the model's c lies above chance; beside it, what it loses to the one named.

    Open where folds of the model are lacking.
    """
    rows = row_means(analysis, claim["pattern"] or FULL)
    for row in _fused(claim, rows):
        text = f"c {row.text}"
        other = next((r for r in rows if r.row == (*row.row[:3], claim["against"])), None)
        if other is not None:
            text += f", {compare_rows(row, other).text(signed=True)} to {other.variant}"
        yield CohortVerdict(row.row[0], text, _above_chance(row))


def _above_chance(row: RowMean) -> bool | None:
    return None if not row.complete else True if row.low > CHANCE else False if row.high <= CHANCE else None
