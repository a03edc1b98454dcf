"""Kaplan-Meier curves of patients above and below the median predicted risk, with log-rank p and numbers at risk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sksurv.nonparametric import kaplan_meier_estimator

from fusionbench.core.errors import UndefinedMetric
from fusionbench.report.analysis import Analysis
from fusionbench.report.figures.figure import FigureOrOmitted, Omitted, ReportFigure, numbered
from fusionbench.report.figures.panels import lay_out, panels
from fusionbench.report.figures.predictions import (
    MOST,
    Floats,
    JoinedPredictions,
    best_rows,
    joined_predictions,
    with_follow_up,
)
from fusionbench.report.figures.rows import row_label
from fusionbench.report.figures.style import COLOURS, SIZE, Style, legend_handle
from fusionbench.survival.stats import log_rank_p, risk_groups

TITLE = "Survival by predicted risk"
_CAPTION = (
    "Kaplan-Meier curves with pointwise 95 % intervals, and numbers at risk, of test patients above and below the "
    "median predicted risk of their own fold, joined over the folds{first}. p: log-rank test. Best row of each model, "
    "at most {most}, by mean c-index: the rows were selected on these patients, so the p-values are optimistic."
)
GROUPS = (("low risk", COLOURS[0]), ("high risk", COLOURS[1]))
BEHIND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1}
STEPS = (1, 2, 3, 6, 12, 24, 36, 60, 120)
"""Months between ticks."""


@dataclass(frozen=True)
class Curve:
    """A Kaplan-Meier estimate.

    Attributes:
        time, survival, low, high: (step,) months; probability; pointwise 95 % interval (log-log).
    """

    time: Floats
    survival: Floats
    low: Floats
    high: Floats


def kaplan_meier(time: NDArray[Any], event: NDArray[Any]) -> Curve:
    """Kaplan-Meier estimate of the cases; a flat curve where no event was observed.

    Args:
        time: (case,) months, at least one. event: (case,) bool, True = observed.
    """
    if not event.any():  # the log-log interval is undefined where survival stays at 1
        flat = np.ones(1)
        return Curve(np.array([float(time.max())]), flat, flat, flat)
    at, survival, interval = kaplan_meier_estimator(event, time, conf_type="log-log")
    return Curve(at, survival, *interval)


def p_values(of: Mapping[int, JoinedPredictions]) -> dict[int, float | str]:
    """Repeat to the p of the log-rank test, or why there is none."""
    made: dict[int, float | str] = {}
    for repeat, one in of.items():
        try:
            made[repeat] = log_rank_p(one.time, one.event, risk_groups(one.risk, one.fold))
        except UndefinedMetric as undefined:
            made[repeat] = str(undefined)
    return made


def p_text(p: Mapping[int, float | str]) -> str:
    """The p of the first repeat, and the range of all repeats where there are several."""
    first, *_ = p.values()  # the curves are those of the first repeat
    numbers = [value for value in p.values() if isinstance(value, float)]
    text = f"p {_number(first)}" if isinstance(first, float) else "p undefined"
    return text + (f" ({_range(numbers)} over {len(p)} repeats)" if len(p) > 1 and numbers else "")


def _number(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _range(numbers: Sequence[float]) -> str:
    ends = dict.fromkeys(f"{p:.3f}" if p >= 0.001 else "< 0.001" for p in (min(numbers), max(numbers)))
    return " to ".join(ends)


def survival(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[FigureOrOmitted]:
    """A figure for each cohort."""
    datasets = with_follow_up(analysis)
    for i, dataset in enumerate(datasets):
        rows = [m.row for m in best_rows(analysis, dataset)]
        found = joined_predictions(analysis, dataset, rows)
        title = f"{TITLE}: {dataset}"
        if not found:
            why = "test folds overlap, so that a patient would count several times" if rows else "no row has a c-index"
            yield Omitted(title, why)
            continue
        panels_of = {row_label(row): found[row] for row in rows if row in found}
        ps = [p_values(of) for of in panels_of.values()]
        below = sum(isinstance(p := next(iter(of.values())), float) and p < 0.05 for of in ps)
        alt = f"Two survival curves for each of {len(ps)} rows on {dataset}; log-rank p lies below 0.05 for {below}."
        several = any(len(of) > 1 for of in panels_of.values())
        caption = _CAPTION.format(first=" of the first repeat" if several else "", most=MOST)
        yield ReportFigure(numbered("survival", i, len(datasets)), title, caption, alt, figure(panels_of))


def figure(rows: Mapping[str, Mapping[int, JoinedPredictions]]) -> Figure:
    """A panel for each row: curves of its first repeat."""
    size = (2.7, 1.7)
    drawing, axes = panels(list(rows), size, most=3)
    for repeats, ax in zip(rows.values(), axes, strict=True):
        first = repeats[min(repeats)]
        high = risk_groups(first.risk, first.fold)
        for part, (_, colour) in zip((~high, high), GROUPS, strict=True):
            if part.any():
                _draw(ax, kaplan_meier(first.time[part], first.event[part]), colour)
        ax.set(ylim=(0, 1.02), yticks=(0, 0.5, 1), ylabel="survival probability")
        ax.grid(visible=False)
        ax.text(0.03, 0.05, p_text(p_values(repeats)), transform=ax.transAxes, bbox=BEHIND)
        _at_risk(ax, first.time, high)
    lay_out(drawing, size, [legend_handle(Style(colour, ""), name, line=True) for name, colour in GROUPS])
    return drawing


def _draw(ax: Axes, curve: Curve, colour: str) -> None:
    time = np.concatenate([[0.0], curve.time])
    survival, low, high = (np.concatenate([[1.0], side]) for side in (curve.survival, curve.low, curve.high))
    ax.step(time, survival, where="post", color=colour)
    ax.fill_between(time, low, high, step="post", color=colour, alpha=0.15, linewidth=0)


def _at_risk(ax: Axes, time: Floats, high: NDArray[np.bool_]) -> None:
    """Write the number of patients still followed at each tick below the axis."""
    longest = float(time.max())
    step = next((s for s in STEPS if longest / s <= 6), STEPS[-1])
    ticks = [float(tick) for tick in range(0, int(longest) + 1, step)]
    ax.set(xlim=(0, longest * 1.02), xticks=ticks, xlabel="months; below: patients at risk")
    for line, (part, (name, colour)) in enumerate(zip((~high, high), GROUPS, strict=True)):
        y = -0.30 - 0.11 * line  # fractions of the panel's height: below the axis label
        style: dict[str, Any] = {"va": "center", "color": colour, "fontsize": SIZE - 1}
        ax.text(-0.07, y, name.split()[0], transform=ax.transAxes, ha="right", **style)
        for tick in ticks:
            n = str(int((time[part] >= tick).sum()))
            ax.text(tick, y, n, transform=ax.get_xaxis_transform(), ha="center", **style)
