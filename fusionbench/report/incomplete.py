"""Rows that lack folds of their plan: they are shown, and decide nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from fusionbench.report.model import CheckedFrames, FoldCount, FoldKey, MeanKey, RowKey, row_keys


class _Family(NamedTuple):
    """What rows share whose means stand beside one another."""

    dataset: str
    variant: str
    pattern: str
    metric: str


def incomplete_means(
    stored: CheckedFrames, values: Mapping[MeanKey, Mapping[FoldKey, float]]
) -> dict[MeanKey, FoldCount]:
    """Means over fewer folds than were planned for their dataset and variant, with how many each has.

    A fold counts as lacking where its cell failed, was skipped or is missing, and where the row's value of a metric
    that ranks is undefined but some other row has one. A fold on which no row has a value, as without a comparable
    pair, is held against nobody.
    """
    finished = _finished(stored)
    defined: dict[_Family, set[FoldKey]] = defaultdict(set)
    for place, of in values.items():
        if stored.directions[place[2]] is not None:
            defined[_family(place)].update(of)
    lacking = {}
    for place, of in values.items():
        row, plan = place[0], stored.plans[place[0][0], place[0][3]].test_to_train
        wanted = [f for f in plan if f in defined[_family(place)] or f not in finished.get(row, ())]
        if of and any(fold not in of for fold in wanted):  # without any value there is no mean
            lacking[place] = FoldCount(len(of), len(plan))
    return lacking


def _family(place: MeanKey) -> _Family:
    (dataset, _, _, variant), pattern, metric = place
    return _Family(dataset, variant, pattern, metric)


def _finished(stored: CheckedFrames) -> dict[RowKey, set[FoldKey]]:
    """Row to the folds whose cell has a result."""
    cells = stored.cells[stored.cells["status"] == "ok"]
    finished: dict[RowKey, set[FoldKey]] = defaultdict(set)
    for row, repeat, fold in zip(row_keys(cells), cells["repeat"], cells["fold"], strict=True):
        finished[row].add((int(repeat), int(fold)))
    return finished
