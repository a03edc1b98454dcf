"""Did fusion help? Each fusion model against the best model of one modality, and what it makes of each modality."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fusionbench.core.rounding import DIGITS
from fusionbench.report.analysis import Analysis
from fusionbench.report.document import NONE, Entry, Grid, Section
from fusionbench.report.estimate import Estimate
from fusionbench.report.findings.concordant_pairs import pair_sections
from fusionbench.report.findings.estimates import (
    c_difference,
    c_draws,
    c_estimate,
    fold_c,
    on_folds,
)
from fusionbench.report.findings.select_rows import (
    BEST_UNIMODAL,
    XOR,
    complete_rows,
    fused_rows,
    is_model,
    patterns_of,
    row_of_model,
    scored_rows,
    set_label,
    unimodal_rows,
    without_folds,
)
from fusionbench.report.model import FULL, RowKey, unique
from fusionbench.report.paired import adjusted, comparison, fold_mean
from fusionbench.suites.lock import leaks_of

_HELPED = (
    "{score} with all modalities, and its paired difference to two references. Reference 1 (best uni-modal): the "
    "single-modality model picked on validation patients. Reference 2 (test-best uni-modal, optimistic): the one that "
    "scored best on the test patients. p: corrected resampled t-test against reference 1, p_holm over the rows of this "
    "grid. Uplift: 100 ({c} / {c}_uni - 1)."
)
_SHUFFLED = (
    "Fall of {c} when the model is shown each test patient with another test patient's modality, among those that have "
    "it; the mean over draws, from the same fitted model. Where {c} does not fall, the modality is not used, or says "
    "what the others say."
)


def did_fusion_help(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[Section]:
    """Sections on every dataset with rows on more than one modality; none where there is none."""
    sections = [s for dataset in unique(analysis.stored.cells["dataset"]) for s in _of_dataset(analysis, dataset)]
    if sections:
        sign = "shows signs of leakage, which a difference may come from"
        notes = (f"{name} {sign}: {'; '.join(texts)}" for name, texts in leaks_of(lock).items())
        yield Section(2, "Did fusion help?", notes=tuple(notes))
        yield from sections


def _of_dataset(analysis: Analysis, dataset: str) -> Iterator[Section]:
    fused = fusion_models(analysis, dataset)
    if any(references(analysis, row) != (None, None) for row in fused):
        yield _helped(analysis, dataset, fused)
    shuffles = patterns_of(analysis, fused, "shuffle")
    if shuffles:
        yield _shuffled(analysis, dataset, fused, shuffles)
    yield from pair_sections(analysis, dataset, fused)


def fusion_models(analysis: Analysis, dataset: str) -> list[RowKey]:
    """The rows on more than one modality, without those that choose a single one."""
    return [row for row in fused_rows(analysis, dataset) if not is_model(row, BEST_UNIMODAL, XOR)]


def references(analysis: Analysis, row: RowKey) -> tuple[RowKey | None, RowKey | None]:
    """The best uni-modal row by validation, and the one that is best on the test cases; neither lacks folds."""

    def tested(row: RowKey) -> float:
        return round(fold_mean(fold_c(analysis, (row, FULL))), DIGITS)

    best = max(complete_rows(analysis, unimodal_rows(analysis, row)), key=tested, default=None)
    return row_of_model(complete_rows(analysis, scored_rows(analysis, row[0])), row, BEST_UNIMODAL), best


def _helped(analysis: Analysis, dataset: str, fused: Sequence[RowKey]) -> Section:
    of = {row: references(analysis, row) for row in fused}
    words = analysis.words(dataset)
    columns = (words.symbol, "to best uni-modal", "p", "p_holm", "uplift", "to test-best uni-modal", "its uplift")
    grid = Grid(fused, *columns)
    tests = _tests(analysis, {row: chosen for row, (chosen, _) in of.items() if chosen is not None})
    for row, (chosen, best) in of.items():
        p = [_p(tests[row][name]) for name in ("p", "p_holm")] if row in tests else [NONE, NONE]
        to_chosen, to_best = (_against(analysis, row, other) for other in (chosen, best))
        grid.add(row, [c_estimate(analysis, (row, FULL)).entry(), to_chosen[0], *p, to_chosen[1], *to_best])
    text = _HELPED.format(score=words.score, c=words.symbol)
    return Section(3, dataset, text, grid.header, tuple(grid.lines), tuple(_who(analysis, of)))


def _tests(analysis: Analysis, references: Mapping[RowKey, RowKey]) -> dict[RowKey, dict[str, Any]]:
    """Each row's comparison with its reference, adjusted over the rows that lack no folds."""
    stored = analysis.stored
    values = {row: fold_c(analysis, (row, FULL)) for pair in references.items() for row in pair}
    lines = {
        row: comparison(stored, (row, other), FULL, stored.ranking(row[0]), (values[row], values[other]), None)
        for row, other in references.items()
    }
    complete = complete_rows(analysis, references)
    lines |= zip(complete, adjusted([lines[row] for row in complete]), strict=True)
    return {row: {"p_holm": math.nan, **line} for row, line in lines.items()}


def _p(value: float) -> Entry:
    return NONE if math.isnan(value) else Entry(f"{value:.3f}")


def _against(analysis: Analysis, row: RowKey, other: RowKey | None) -> tuple[Entry, Entry]:
    """Difference with its interval, and uplift in per cent."""
    if other is None:
        return NONE, NONE
    gap, gain = c_difference(analysis, (row, FULL), (other, FULL)), uplift_over(analysis, row, other).value
    return gap.entry(signed=True), NONE if math.isnan(gain) else Entry(f"{gain:+.1f} %")


def uplift_over(analysis: Analysis, row: RowKey, other: RowKey) -> Estimate:
    """Uplift in per cent over the folds that both have; with an interval, paired by draw, where those are all.

    On a handful of patients a draw may have a reference of zero: a ratio to it is nothing, so there is no interval.
    """
    values = [fold_c(analysis, (r, FULL)) for r in (row, other)]
    c, reference = (fold_mean({f: of[f] for f in of if f in values[0] and f in values[1]}) for of in values)
    draws = [c_draws(analysis, (r, FULL)) for r in (row, other)]
    value, folds = uplift(c, reference), on_folds(analysis, (row, FULL), (other, FULL))
    if draws[0] is None or draws[1] is None or values[0].keys() != values[1].keys() or (draws[1] <= 0).any():
        return Estimate(value, folds=folds)
    return Estimate.of(value, 100 * (draws[0] / draws[1] - 1), folds)


def uplift(fusion: float, unimodal: float) -> float:
    """100 (c_fusion / c_uni - 1); NaN over a c of zero."""
    return 100 * (fusion / unimodal - 1) if unimodal > 0 else math.nan


def _who(analysis: Analysis, of: Mapping[RowKey, tuple[RowKey | None, RowKey | None]]) -> Iterator[str]:
    """The references of each modality set, once."""
    several = len({row[3] for row in of}) > 1
    for place, (chosen, best) in {set_label(row, several=several): pair for row, pair in of.items()}.items():
        by_validation = f"no row {BEST_UNIMODAL}, so none is chosen by validation"
        if chosen is not None:
            by_validation = f"best uni-modal {_c(analysis, chosen)}"
        by_test = "no uni-modal row" if best is None else f"test-best {best[1]} on {best[2]} {_c(analysis, best)}"
        yield f"{place}: {by_validation}; {by_test}"
    rows = dict.fromkeys(other for row in of for other in _candidates(analysis, row))
    if left_out := without_folds(analysis, rows):
        yield f"lack folds, so no reference: {', '.join(left_out)}"


def _candidates(analysis: Analysis, row: RowKey) -> Iterator[RowKey]:
    """Rows that would be a reference of this one if they lacked no folds."""
    yield from unimodal_rows(analysis, row)
    chosen = row_of_model(scored_rows(analysis, row[0]), row, BEST_UNIMODAL)
    if chosen is not None:
        yield chosen


def _c(analysis: Analysis, row: RowKey) -> str:
    return c_estimate(analysis, (row, FULL)).entry().text


def _shuffled(analysis: Analysis, dataset: str, fused: Sequence[RowKey], shuffles: Sequence[str]) -> Section:
    tested = [row for row in fused if any(fold_c(analysis, (row, s)) for s in shuffles)]
    c = analysis.words(dataset).symbol
    grid = Grid(tested, c, *(pattern.partition(":")[2] for pattern in shuffles))
    for row in tested:
        falls = (_fall(analysis, row, pattern) for pattern in shuffles)
        grid.add(row, [c_estimate(analysis, (row, FULL)).entry(), *falls])
    return Section(3, f"{dataset}: one modality shuffled", _SHUFFLED.format(c=c), grid.header, tuple(grid.lines))


def _fall(analysis: Analysis, row: RowKey, pattern: str) -> Entry:
    if not fold_c(analysis, (row, pattern)):
        return NONE
    fall: Estimate = c_difference(analysis, (row, FULL), (row, pattern))
    return fall.entry(signed=True)
