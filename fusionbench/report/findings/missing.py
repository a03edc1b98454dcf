"""Missing modalities at test: how c falls as more is hidden, and what is left of it under each pattern."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fusionbench.report.analysis import Analysis
from fusionbench.report.document import NONE, Entry, Grid, Section
from fusionbench.report.estimate import Estimate
from fusionbench.report.findings.estimates import (
    c_difference,
    c_draws,
    c_estimate,
    fold_c,
)
from fusionbench.report.findings.select_rows import BEST_UNIMODAL, XOR, fused_rows, patterns_of, row_of_model, set_label
from fusionbench.report.findings.visible_cases import VisibleScores, visible_scores
from fusionbench.report.model import FULL, RowKey, unique
from fusionbench.report.paired import fold_mean, paired_test
from fusionbench.survival.stats.concordance import Floats

_CURVES = (
    "{score} as each modality of each test patient is hidden with probability p; nothing is trained again. Area: "
    "under the curve by the trapezoid rule over p from 0 to the largest rate, divided by that range: a mean {c}. The "
    "last column is the smallest p at which the interval of the paired difference to the best uni-modal model, chosen "
    "on validation cases and tested under the same masks, lies below 0."
)
_PATTERNS = (
    "{c} under each pattern, and of the same fitted model with all modalities on the same patients: those of whom the "
    "pattern leaves at least one modality. The others got the {prior} and are left out here."
)
_XOR = (
    "Each test patient keeps one of their modalities at random. Compared with the uni-modal models of whatever is "
    "there (xor-unimodal), on the patients that have any modality; p: corrected resampled t-test, not adjusted."
)


def missing_modalities(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[Section]:
    """Sections on every dataset whose rows were tested with modalities missing; none where none was."""
    sections = [s for dataset in unique(analysis.stored.cells["dataset"]) for s in _of_dataset(analysis, dataset, lock)]
    if sections:
        yield Section(2, "Missing modalities")
        yield from sections


def _of_dataset(analysis: Analysis, dataset: str, lock: Mapping[str, Any]) -> Iterator[Section]:
    rows = fused_rows(analysis, dataset)
    rates = sorted(patterns_of(analysis, rows, "rate"), key=rate_of)
    if rates:
        yield _curves(analysis, dataset, rows, rates)
    patterns = [p for kind in ("half", "only", "drop", "file", "mnar") for p in patterns_of(analysis, rows, kind)]
    if patterns:
        found = visible_scores(analysis, dataset, rows, patterns, seed=int(lock["suite"]["seed"]))
        yield _left(analysis, dataset, rows, patterns, found)
        yield from _against_xor(analysis, dataset, rows, found)


def rate_of(pattern: str) -> float:
    """The probability p of `rate:<p>`; 0 for the pattern `full`."""
    return 0.0 if pattern == FULL else float(pattern.partition(":")[2])


def _curves(analysis: Analysis, dataset: str, rows: Sequence[RowKey], rates: Sequence[str]) -> Section:
    points = [FULL, *rates]
    tested = [row for row in rows if any(fold_c(analysis, (row, rate)) for rate in rates)]
    grid = Grid(tested, *points, "area", "loses from p")
    for row in tested:
        of = [p for p in points if fold_c(analysis, (row, p))]
        shown = {p: c_estimate(analysis, (row, p)).entry() for p in of}
        grid.add(
            row,
            [
                *(shown.get(p, NONE) for p in points),
                _area(analysis, row, of).entry(),
                _loses(analysis, tested, row, of),
            ],
        )
    words = analysis.words(dataset)
    text = _CURVES.format(score=words.score, c=words.symbol)
    notes = (*_realised(analysis, tested, points), *_without_reference(tested))
    return Section(3, f"{dataset}: modalities hidden at random", text, grid.header, tuple(grid.lines), notes)


def area(rates: Sequence[float], c: Floats) -> Floats:
    """Area under a curve by the trapezoid rule, divided by the range of the rates.

    Args:
        rates: (point,) ascending, at least two.
        c: (point, ...) the curve, or many of them.
    """
    p = np.asarray(rates, dtype=np.float64)
    means = (c[1:] + c[:-1]) / 2
    return np.asarray(np.tensordot(np.diff(p), means, axes=1) / (p[-1] - p[0]))


def _area(analysis: Analysis, row: RowKey, points: Sequence[str]) -> Estimate:
    rates = [rate_of(p) for p in points]
    values = np.array([fold_mean(fold_c(analysis, (row, p))) for p in points])
    draws = [c_draws(analysis, (row, p)) for p in points]
    known = [of for of in draws if of is not None]
    drawn = area(rates, np.stack(known)) if len(known) == len(points) else None
    return Estimate.of(float(area(rates, values)), drawn)


def _loses(analysis: Analysis, rows: Sequence[RowKey], row: RowKey, points: Sequence[str]) -> Entry:
    """The smallest p at which the interval of the difference to the best uni-modal row lies below 0."""
    reference = row_of_model(rows, row, BEST_UNIMODAL)
    if reference is None or reference == row:
        return NONE
    if any(analysis.lacking(of, p) for of in (row, reference) for p in points):
        return Entry("lacks folds")
    gaps = {p: c_difference(analysis, (row, p), (reference, p)) for p in points}
    if any(math.isnan(gap.high) for gap in gaps.values()):
        return Entry("no interval")
    return Entry(next((f"{rate_of(p):g}" for p, gap in gaps.items() if gap.high < 0), "none"))


def _without_reference(rows: Sequence[RowKey]) -> Iterator[str]:
    several = len({row[3] for row in rows}) > 1
    without = (row for row in rows if row_of_model(rows, row, BEST_UNIMODAL) is None)
    lacking = dict.fromkeys(set_label(row, several=several) for row in without)
    if lacking:
        yield f"no row {BEST_UNIMODAL} on {', '.join(lacking)}: nothing to lose against"


def _realised(analysis: Analysis, rows: Iterable[RowKey], points: Sequence[str]) -> Iterator[str]:
    """Each modality set's share of (case, modality) pairs that were not seen; the masks are the same for all models."""
    folds = analysis.stored.folds
    if "realised" not in folds.columns:
        return
    for modalities in dict.fromkeys(row[2] for row in rows):
        shares = folds[folds["modalities"] == modalities].groupby("pattern")["realised"].mean()
        shown_shares = [f"{shares[p]:.3f} under {p}" for p in points if p in shares.index and not math.isnan(shares[p])]
        if shown_shares:
            yield f"share of modalities not seen, hidden or never there, of {modalities}: {', '.join(shown_shares)}"


def _left(
    analysis: Analysis, dataset: str, rows: Sequence[RowKey], patterns: Sequence[str], found: VisibleScores
) -> Section:
    words = analysis.words(dataset)
    grid = Grid(rows, "pattern", "n_cases", words.symbol, "full", "difference")
    for row in rows:
        for pattern in patterns:
            if (row, pattern) in found.cases:
                c, full = found.c((row, pattern)), found.full((row, pattern))
                lost = found.difference((row, pattern), found.full_line((row, pattern)))
                counted = Entry(str(found.cases[row, pattern]))
                grid.add(row, [Entry(pattern), counted, c.entry(), full.entry(), lost.entry(signed=True)])
    text = _PATTERNS.format(c=words.symbol, prior=words.prior)
    return Section(3, f"{dataset}: what is left", text, grid.header, tuple(grid.lines), found.notes)


def _against_xor(analysis: Analysis, dataset: str, rows: Sequence[RowKey], found: VisibleScores) -> Iterator[Section]:
    pairs = {row: row_of_model(rows, row, XOR) for row in rows if (row, "half") in found.cases}
    compared = {row: xor for row, xor in pairs.items() if xor not in (None, row) and (xor, "half") in found.cases}
    if not compared:
        return
    grid = Grid(list(compared), "n_cases", analysis.words(dataset).symbol, "xor-unimodal", "difference", "p")
    for row, xor in compared.items():
        assert xor is not None
        one, other = (row, "half"), (xor, "half")
        p = paired_test(analysis.stored, row, found.sample.values.get(one, {}), found.sample.values.get(other, {})).p
        entries = (found.c(one).entry(), found.c(other).entry(), found.difference(one, other).entry(signed=True))
        grid.add(row, [Entry(str(found.cases[one])), *entries, NONE if math.isnan(p) else Entry(f"{p:.3f}")])
    yield Section(3, f"{dataset}: one modality a patient", _XOR, grid.header, tuple(grid.lines))
