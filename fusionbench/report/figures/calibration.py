"""Predicted survival at a horizon against the Kaplan-Meier estimate of the same patients, by quarters of risk."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fusionbench.report.analysis import Analysis
from fusionbench.report.estimate import Estimate
from fusionbench.report.figures.figure import FigureOrOmitted, Omitted, ReportFigure, numbered
from fusionbench.report.figures.kaplan_meier import kaplan_meier
from fusionbench.report.figures.panels import lay_out, panels
from fusionbench.report.figures.predictions import (
    MOST,
    JoinedPredictions,
    best_rows,
    joined_predictions,
    risk_quarters,
    with_follow_up,
)
from fusionbench.report.figures.rows import row_label
from fusionbench.report.figures.style import COLOURS, DASHED, GREY

TITLE = "Calibration"
HORIZONS = (60.0, 36.0, 12.0)
"""Months; the longest within the dataset's horizon is used."""

_CAPTION = (
    "Predicted against observed survival at {months:.3g} months. Each point is a quarter of the test patients by "
    "predicted risk within their fold, joined over the folds of the first repeat: the mean of their predicted "
    "survival, and their Kaplan-Meier estimate with its 95 % interval. On the line, predictions are calibrated. Best "
    "row of each model that predicts survival, at most {most}, by mean c-index."
)


def points(of: JoinedPredictions, months: float) -> list[tuple[float, Estimate]]:
    """(mean predicted S, Kaplan-Meier estimate) of each quarter of risk whose follow-up reaches so far."""
    made, group, predicted_s = [], risk_quarters(of), of.survival[months]
    for part in (group == i for i in range(4)):
        if part.any():
            curve = kaplan_meier(of.time[part], of.event[part])
            # Beyond the last follow-up the estimate is undefined, unless it has reached zero.
            if curve.time[-1] >= months or curve.survival[-1] == 0:
                # The last step at or before the horizon; before the first event the estimate is 1, without an interval.
                at = int(np.searchsorted(curve.time, months, side="right")) - 1
                seen = (
                    Estimate(1.0)
                    if at < 0
                    else Estimate(float(curve.survival[at]), float(curve.low[at]), float(curve.high[at]))
                )
                made.append((float(predicted_s[part].mean()), seen))
    return made


def calibration(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[FigureOrOmitted]:
    """A figure for each cohort."""
    datasets = with_follow_up(analysis)
    for i, dataset in enumerate(datasets):
        title = f"{TITLE}: {dataset}"
        rows = [m.row for m in best_rows(analysis, dataset, most=len(analysis.table.rows))]
        found = {row: of for row, of in joined_predictions(analysis, dataset, rows).items() if of[min(of)].survival}
        shown = {row_label(row): found[row][min(found[row])] for row in [r for r in rows if r in found][:MOST]}
        if not shown:
            yield Omitted(title, "no predicted survival curve is stored of its rows, or its test folds overlap")
            continue
        months = horizon(lock, dataset, next(iter(shown.values())).survival)
        of = {name: points(one, months) for name, one in shown.items() if months in one.survival}
        gaps = [abs(x - dot.value) for line in of.values() for x, dot in line]
        alt = f"Points of {len(of)} rows on {dataset} beside the line of calibration, at most {max(gaps):.2f} from it."
        caption = _CAPTION.format(months=months, most=MOST)
        yield ReportFigure(numbered("calibration", i, len(datasets)), title, caption, alt, figure(of, months))


def horizon(lock: Mapping[str, Any], dataset: str, stored: Sequence[float] | Mapping[float, Any]) -> float:
    """The stored month that is nearest to the longest usual horizon within the dataset's own."""
    tau = max(float(months) for months in lock["datasets"][dataset]["tau_months"].values())
    wanted = next((months for months in HORIZONS if months <= tau + 0.5), tau)
    return min(stored, key=lambda month: (abs(month - wanted), month))


def figure(rows: Mapping[str, Sequence[tuple[float, Estimate]]], months: float) -> Figure:
    """A panel for each row."""
    size = (2.1, 2.1)
    drawing, axes = panels(list(rows), size, most=4)
    for points_of_row, ax in zip(rows.values(), axes, strict=True):
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=DASHED)
        spans = [(x, dot) for x, dot in points_of_row if math.isfinite(dot.low)]
        ax.vlines(
            [x for x, _ in spans],
            [dot.low for _, dot in spans],
            [dot.high for _, dot in spans],
            colors=COLOURS[0],
            linewidth=1.1,
        )
        ax.plot(
            [x for x, _ in points_of_row],
            [dot.value for _, dot in points_of_row],
            color=COLOURS[0],
            marker="o",
            markersize=4,
        )
        ax.set(xlim=(0, 1.02), ylim=(0, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        ax.set(xlabel=f"predicted survival at {months:.3g} months", ylabel="observed (Kaplan-Meier)")
    lay_out(drawing, size)
    return drawing
