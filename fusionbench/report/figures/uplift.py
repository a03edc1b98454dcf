"""By how many per cent each fusion model beats the best model of one modality."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fusionbench.report.analysis import Analysis
from fusionbench.report.estimate import Estimate
from fusionbench.report.figures.dot_plot import Series, dot_figure
from fusionbench.report.figures.figure import FigureOrOmitted, Omitted, ReportFigure, numbered
from fusionbench.report.figures.rows import alike
from fusionbench.report.figures.style import COLOURS, Style
from fusionbench.report.findings.fusion import fusion_models, references, uplift_over
from fusionbench.report.model import RowKey, configuration_of, unique

TITLE = "Uplift over the best uni-modal model"
AXIS = "uplift (%)"
_CAPTION = "100 ({c} / {c}_uni - 1), with its 95 % bootstrap interval, paired by test patient."
_MARKS = {
    True: " Filled: over the uni-modal model picked on validation patients.",
    False: " Open: over the one that scored best on the test patients (optimistic).",
}


def uplift(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[FigureOrOmitted]:
    """A figure for cohorts that share their modality sets."""
    rows = [row for name in unique(analysis.stored.cells["dataset"]) for row in fusion_models(analysis, name)]
    series = [of for of in _series(analysis, rows) if of.dots]
    if not series:
        yield Omitted(TITLE, "no row on several modalities has one on a single modality of them to be held against")
        return
    compared = [row for row in rows if any((row[0], configuration_of(row)) in of.dots for of in series)]
    together = alike(compared, analysis.stored.ranking)
    for i, datasets in enumerate(together):
        of = [row for row in compared if row[0] in datasets]
        shown = [_of(s, datasets) for s in series]
        figure, marks = dot_figure([configuration_of(row) for row in of], datasets, shown, axis=AXIS, reference=0.0)
        caption = _CAPTION.format(c=analysis.words(datasets[0]).symbol) + "".join(
            _MARKS[s.filled] for s in shown if s.dots
        )
        alt = _alt(shown[0], len(of), datasets)
        yield ReportFigure(numbered("uplift", i, len(together)), TITLE, caption, alt, figure, marks=marks)


def _series(analysis: Analysis, rows: Sequence[RowKey]) -> Iterator[Series]:
    pairs = {row: references(analysis, row) for row in rows}
    for i, (label, filled) in enumerate(
        (("over the one picked on validation patients", True), ("over the one best on the test patients", False))
    ):
        dots: dict[Any, Estimate] = {}
        for row, pair in pairs.items():
            other = pair[i]
            gain = None if other is None else uplift_over(analysis, row, other)
            if gain is not None and math.isfinite(gain.value):
                dots[row[0], configuration_of(row)] = gain
        yield Series(label, Style(COLOURS[i], "os"[i]), dots, filled)


def _of(series: Series, datasets: Sequence[str]) -> Series:
    dots = {place: dot for place, dot in series.dots.items() if place[0] in datasets}
    return Series(series.label, series.style, dots, series.filled)


def _alt(series: Series, n: int, datasets: Sequence[str]) -> str:
    above = sum(dot.low > 0 for dot in series.dots.values())
    return (
        f"Points with intervals: uplift in per cent of {n} rows on {', '.join(datasets)}. {series.label.capitalize()}, "
        f"{above} of {len(series.dots)} intervals lie above zero."
    )
