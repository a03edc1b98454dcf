"""Claims on how variants train: each fold is one pair, and few folds leave much undecided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from fusionbench.report.api import FULL, HARRELL, Analysis, RowMean, counterpart, paired_test, row_means
from fusionbench_healnet_paper.curves import TrainingSummary, training_summaries

LEVEL = 0.05

Claim = Mapping[str, str]


@dataclass(frozen=True)
class CohortVerdict:
    """Whether a claim holds on one cohort (or row): True, False, or None where the interval leaves it open.

    Attributes:
        text: the number, with its interval where there is one.
    """

    where: str
    text: str
    holds: bool | None


def lacking_folds(rows: Iterable[RowMean]) -> list[str]:
    """The rows that lack folds, in words; a claim on one of them stays open."""
    return [f"{row.model} has {row.count}" for row in rows if not row.complete]


def pitman_morgan(one: ArrayLike, other: ArrayLike) -> float:
    """Two-sided p of equal variances of paired values; NaN for fewer than three pairs or where nothing varies.

    Variances are equal where sums and differences are uncorrelated. Folds share training cases, so p is a guide.

    Source: Pitman 1939; Morgan 1939.
    """
    x, y = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if len(x) < 3 or np.ptp(x + y) == 0 or np.ptp(x - y) == 0:
        return float("nan")
    return float(stats.pearsonr(x + y, x - y).pvalue)


def _steadier(where: str, one: ArrayLike, other: ArrayLike, digits: int) -> CohortVerdict:
    """Whether paired values vary less than others, by the Pitman-Morgan test over folds."""
    sds = [float(np.std(np.asarray(values, dtype=np.float64), ddof=1)) for values in (one, other)]
    p = pitman_morgan(one, other)
    holds = None if not p < LEVEL else sds[0] < sds[1]
    return CohortVerdict(where, f"sd {sds[0]:.{digits}f} against {sds[1]:.{digits}f} (p = {p:.2f})", holds)


def steadier_agreement(claim: Claim, analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[CohortVerdict]:
    """The agreement of validation loss and c varies less over folds."""
    for one, other in _pairs(claim, training_summaries(analysis.frames.history)):
        mine, theirs = (dict(zip(c.folds, c.agreement, strict=True)) for c in (one, other))
        both = [fold for fold in mine if fold in theirs and np.isfinite([mine[fold], theirs[fold]]).all()]
        if len(both) > 1:
            yield _steadier(f"{one.row[0]} {one.row[1]}", [mine[f] for f in both], [theirs[f] for f in both], 2)


def _pairs(claim: Claim, found: Sequence[TrainingSummary]) -> Iterator[tuple[TrainingSummary, TrainingSummary]]:
    """A variant's training beside the one it is held against, of every row that has both."""
    for summary in found:
        if summary.row[3] == claim["variant"]:
            for other in found:
                if other.row[:3] == summary.row[:3] and other.row[3] in claim["against"].split():
                    yield summary, other


def steadier_score(claim: Claim, analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[CohortVerdict]:
    """The test c varies less over folds."""
    rows = row_means(analysis)
    for row in rows:
        other = counterpart(row, rows, claim["against"]) if row.variant == claim["variant"] else None
        if other is None:
            continue
        mine, theirs = (analysis.values[r.row, FULL, HARRELL] for r in (row, other))
        both = sorted(mine.keys() & theirs.keys())
        if len(both) > 1:
            found = _steadier(f"{row.dataset} {row.row[1]}", [mine[f] for f in both], [theirs[f] for f in both], 3)
            short = lacking_folds((row, other))
            yield replace(found, text=f"{found.text} ({'; '.join(short)})", holds=None) if short else found


def later_rise(claim: Claim, analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[CohortVerdict]:
    """The validation loss rises least under the variant, and more under each further one named.

    A step counts where the 95 % interval of the corrected t-test over folds leaves zero out.
    """
    order = [claim["variant"], *claim["against"].split()]
    found = training_summaries(analysis.frames.history)
    for dataset in dict.fromkeys(summary.row[0] for summary in found):
        of = {c.row[3]: c for c in found if c.row[0] == dataset}
        if all(name in of for name in order):
            text = ", ".join(f"{name} {np.nanmean(of[name].rise):+.1f} %" for name in order)
            yield CohortVerdict(dataset, text, _all_steps([_less(analysis, of[a], of[b]) for a, b in pairwise(order)]))


def _all_steps(steps: Sequence[bool | None]) -> bool | None:
    return False if False in steps else None if None in steps else True


def _less(analysis: Analysis, one: TrainingSummary, other: TrainingSummary) -> bool | None:
    """Whether one rise lies below another; None where the folds leave it open."""
    mine, theirs = (dict(zip(c.folds, map(float, c.rise), strict=True)) for c in (one, other))
    test = paired_test(analysis.stored, one.row, mine, theirs)
    return None if not test.p < LEVEL else test.difference < 0
