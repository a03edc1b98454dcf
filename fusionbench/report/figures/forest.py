"""c-index or AUROC of every row with its interval, a panel for each cohort."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fusionbench.report.analysis import Analysis
from fusionbench.report.estimate import Estimate
from fusionbench.report.figures.dot_plot import Series, dot_figure
from fusionbench.report.figures.figure import FigureOrOmitted, Omitted, ReportFigure, numbered
from fusionbench.report.figures.rows import alike
from fusionbench.report.figures.style import COLOURS, GREY, Style
from fusionbench.report.findings.estimates import (
    RowMean,
    row_means,
)
from fusionbench.report.model import FULL, RANKINGS, configuration_of, is_oracle, row_keys
from fusionbench.report.ranking import TIED

TITLE = "{score} by cohort and model"
_CAPTION = (
    "{score} with all modalities: mean over test folds, and its 95 % bootstrap interval (sampling of test "
    "patients, models fixed). Dashed line: 0.5 = chance; 1 = perfect ranking."
)


def forest(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[FigureOrOmitted]:
    """A figure for cohorts that share their modality sets."""
    rows = row_means(analysis)
    if len(rows) < 2:
        name, one = analysis.score_names, "an" if analysis.score_names == "AUROC" else "a"
        yield Omitted(
            TITLE.format(score=name),
            f"{len(rows)} row has {one} {name}, which the table shows; points to compare need two",
        )
        return
    together = alike((m.row for m in rows), analysis.stored.ranking)
    tied = _tied(analysis)
    for i, datasets in enumerate(together):
        of, words = [m for m in rows if m.row[0] in datasets], analysis.words(datasets[0])
        figure, marks = dot_figure(
            [configuration_of(m.row) for m in of],
            datasets,
            _series(of, tied, words.truth),
            axis=words.axis,
            reference=0.5,
        )
        best = max((m for m in of if not is_oracle(m.row[1])), key=lambda m: (m.complete, m.mean), default=of[0])
        alt = (
            f"Points with intervals: {words.short} of {len(of)} rows on {', '.join(datasets)}. The highest mean is "
            f"{best.mean:.3f}, {best.row[1]} on {best.row[2]}, {best.row[0]}."
        )
        title, caption = TITLE.format(score=words.short), _CAPTION.format(score=words.score)
        yield ReportFigure(numbered("forest", i, len(together)), title, caption, alt, figure, marks=marks)


def _tied(analysis: Analysis) -> set[tuple[str, ...]]:
    rows = analysis.table.rows
    chosen = rows[(rows["tie_group"] == TIED) & (rows["pattern"] == FULL) & rows["metric"].isin(RANKINGS)]
    return set(row_keys(chosen))


def _series(rows: Sequence[RowMean], tied: set[tuple[str, ...]], truth: str) -> list[Series]:
    """Rows of each kind: tied with the best, lower, not tested, without all folds, and the truth, by its name."""

    def dots(chosen: Sequence[RowMean]) -> dict[Any, Estimate]:
        return {(m.row[0], configuration_of(m.row)): Estimate(m.mean, m.low, m.high) for m in chosen}

    ranked = [m for m in rows if not is_oracle(m.row[1])]
    tested = {row[0] for row in tied}  # with one fold no row is
    kinds = [
        Series(
            "not significantly different from the best (tie group a)",
            Style(COLOURS[0], "o"),
            dots([m for m in ranked if m.row in tied]),
        ),
        Series(
            "significantly lower than the best",
            Style(COLOURS[1], "o"),
            dots([m for m in ranked if m.row not in tied and m.complete and m.row[0] in tested]),
            filled=False,
        ),
        Series(
            "not tested against the best",
            Style(COLOURS[0], "s"),
            dots([m for m in ranked if m.complete and m.row[0] not in tested]),
        ),
        Series(
            "lacks folds, so not ranked",
            Style(GREY, "x"),
            dots([m for m in ranked if not m.complete]),
        ),
        Series(truth, Style(GREY, "D"), dots([m for m in rows if is_oracle(m.row[1])])),
    ]
    return [of for of in kinds if of.dots]
