"""What missing modalities cost at test: curves over the hiding rate, one modality a patient, and each pattern."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusionbench.report.analysis import Analysis
from fusionbench.report.estimate import Estimate
from fusionbench.report.figures.dot_plot import Series, dot_figure
from fusionbench.report.figures.figure import FigureOrOmitted, Omitted, ReportFigure, numbered
from fusionbench.report.figures.panels import lay_out, panels
from fusionbench.report.figures.rows import LINE, alike, groups, label_rows, lines_of
from fusionbench.report.figures.style import COLOURS, PALE, SIZE, Style, legend_handle, shortened, styles
from fusionbench.report.findings.estimates import (
    c_estimate,
    fold_c,
)
from fusionbench.report.findings.missing import rate_of
from fusionbench.report.findings.select_rows import BEST_UNIMODAL, fused_rows, patterns_of
from fusionbench.report.model import FULL, RowKey, configuration_of, unique
from fusionbench.report.paired import fold_mean

CURVES, HALF, PATTERNS = "Modalities hidden at random", "One modality a patient", "Each missing-modality pattern"
_CURVES = (
    "{score} as each modality of each test patient is hidden with probability p; nothing is trained again, and "
    "masks are the same for all models. Intervals and areas: see the sections below."
)
_HALF = "Filled: all modalities. Open: each test patient keeps exactly one of theirs. With 95 % bootstrap intervals."
_PATTERNS = (
    "{score} under each pattern, as in the table: a patient of whom nothing is left has the {prior}. Pale: not tested."
)
WIDTHS = {1: 6.0, 2: 4.2}
"""Inches of a panel's width, by their number."""

MOST = 12
"""Models that have a colour."""

NAME = 2.9
"""Inches of a model's name in the legend."""

CELL = 0.46
"""Inches of a pattern's column."""


def missing(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[FigureOrOmitted]:
    """Curves and patterns of every cohort, pairs for cohorts that share their modality sets; or why there are none."""
    rows = [row for name in unique(analysis.stored.cells["dataset"]) for row in fused_rows(analysis, name)]
    yield from _curves(analysis, rows)
    yield from _halves(analysis, rows)
    yield from _grids(analysis, rows)


def points(analysis: Analysis, row: RowKey) -> list[tuple[float, float]]:
    """(p, c) of a row by rising p; `full` is p = 0. Only (0, c) where it was tested under no rate."""
    tested = [FULL, *patterns_of(analysis, [row], "rate")]
    values = {rate_of(pattern): fold_mean(fold_c(analysis, (row, pattern))) for pattern in tested}
    return sorted((p, c) for p, c in values.items() if math.isfinite(c))


def _curves(analysis: Analysis, rows: Sequence[RowKey]) -> Iterator[FigureOrOmitted]:
    curves = {row: points(analysis, row) for row in rows}
    drawn = [row for row, of in curves.items() if len(of) > 1]
    datasets = list(dict.fromkeys(row[0] for row in drawn))
    if not drawn:
        yield Omitted(CURVES, "no row on several modalities was tested under patterns rate:<p>")
    for i, dataset in enumerate(datasets):
        of = {row: curves[row] for row in drawn if row[0] == dataset}
        words = analysis.words(dataset)
        falls = [curve[0][1] - curve[-1][1] for curve in of.values()]
        alt = (
            f"Curves of {len(of)} rows on {dataset}: from none to the most hidden, {words.symbol} falls by "
            f"{min(falls):.3f} to {max(falls):.3f}."
        )
        title = f"{CURVES}: {dataset}"
        others = len({row[1] for row in of}) - len(_highest(of))
        caption = _CURVES.format(score=words.score) + (
            f" Grey: the {others} models whose curves lie lowest." if others else ""
        )
        yield ReportFigure(
            numbered("missing-rates", i, len(datasets)), title, caption, alt, curve_figure(of, words.axis)
        )


def curve_figure(curves: Mapping[RowKey, Sequence[tuple[float, float]]], axis: str) -> Figure:
    """A panel for each modality set and variant of one dataset, a line for each model."""
    sets = groups(configuration_of(row) for row in curves)
    by_model = styles(_highest(curves))
    size = (WIDTHS.get(len(sets), 3.1), 2.3)
    figure, axes = panels(list(sets), size, most=3)
    values = [c for of in curves.values() for _, c in of]
    room = 0.05 * (max(values) - min(values)) or 0.02
    for group, ax in zip(sets, axes, strict=True):
        for row, of in curves.items():
            if configuration_of(row) in sets[group]:
                _line(ax, of, by_model.get(row[1]))
        ax.set_ylim(min(values) - room, max(values) + room)
        ax.set(xlabel="p: each modality hidden with this probability", ylabel=axis)
    handles = [legend_handle(style, shortened(model, NAME), line=True) for model, style in by_model.items()]
    lay_out(figure, size, handles)
    return figure


def _line(ax: Axes, of: Sequence[tuple[float, float]], style: Style | None) -> None:
    """A model's curve; without a style of its own it is a thin grey line."""
    p, c = zip(*of, strict=True)
    if style is None:
        ax.plot(p, c, color=PALE, linewidth=0.8, zorder=1)
    else:
        ax.plot(p, c, color=style.colour, marker=style.marker, markersize=3.5, linestyle=style.line)


def _highest(curves: Mapping[RowKey, Sequence[tuple[float, float]]]) -> list[str]:
    """The models with the highest mean of their best curve, and their reference `best-unimodal`, in the rows' order."""
    height = dict[str, float]()
    for row, of in curves.items():
        height[row[1]] = max(height.get(row[1], 0.0), float(np.mean([c for _, c in of])))
    best = {*sorted(height, key=lambda model: -height[model])[:MOST], BEST_UNIMODAL}
    return [model for model in height if model in best]


def _halves(analysis: Analysis, rows: Sequence[RowKey]) -> Iterator[FigureOrOmitted]:
    tested = [row for row in rows if fold_c(analysis, (row, "half"))]
    if not tested:
        yield Omitted(HALF, "no row on several modalities was tested under the pattern half")
        return
    together = alike(tested, analysis.stored.ranking)
    for i, datasets in enumerate(together):
        of, words = [row for row in tested if row[0] in datasets], analysis.words(datasets[0])
        series = [
            Series("all modalities", Style(COLOURS[0], "o"), _dots(analysis, of, FULL)),
            Series("one modality a patient", Style(COLOURS[1], "s"), _dots(analysis, of, "half"), filled=False),
        ]
        figure, marks = dot_figure(
            [configuration_of(row) for row in of], datasets, series, axis=words.axis, reference=0.5
        )
        names = ", ".join(datasets)
        alt = f"Pairs of points: {words.short} of {len(of)} rows on {names}, with all and with one modality."
        yield ReportFigure(numbered("missing-half", i, len(together)), HALF, _HALF, alt, figure, marks=marks)


def _dots(analysis: Analysis, rows: Sequence[RowKey], pattern: str) -> dict[Any, Estimate]:
    return {(row[0], configuration_of(row)): c_estimate(analysis, (row, pattern)) for row in rows}


def _grids(analysis: Analysis, rows: Sequence[RowKey]) -> Iterator[FigureOrOmitted]:
    tested = {
        name: [p for kind in ("only", "drop") for p in patterns_of(analysis, _of(rows, name), kind)]
        for name in dict.fromkeys(row[0] for row in rows)
    }
    found = {name: patterns for name, patterns in tested.items() if patterns}
    if not found:
        yield Omitted(PATTERNS, "no row on several modalities was tested under patterns only:<m> or drop:<m>")
    for i, (name, patterns) in enumerate(found.items()):
        of, words = _of(rows, name), analysis.words(name)
        figure = grid_figure(analysis, of, [FULL, *patterns])
        alt = f"Grid of numbers: {words.short} of {len(of)} rows on {name} under {len(patterns) + 1} patterns."
        title, caption = f"{PATTERNS}: {name}", _PATTERNS.format(score=words.score, prior=words.prior)
        yield ReportFigure(numbered("missing-patterns", i, len(found)), title, caption, alt, figure)


def _of(rows: Sequence[RowKey], dataset: str) -> list[RowKey]:
    return [row for row in rows if row[0] == dataset]


def grid_figure(analysis: Analysis, rows: Sequence[RowKey], patterns: Sequence[str]) -> Figure:
    """A line for each row, a column for each pattern, the number in each cell."""
    lines = lines_of([configuration_of(row) for row in rows])
    of = {configuration_of(row): row for row in rows}
    values = np.full((len(lines), len(patterns)), np.nan)
    for i, (_, kind) in enumerate(lines):
        if kind:
            values[i] = [fold_mean(fold_c(analysis, (of[kind], p))) for p in patterns]
    size = (len(patterns) * CELL, len(lines) * LINE)
    figure = Figure(figsize=size)
    ax = figure.subplots()
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    box = (-0.5, len(patterns) - 0.5, -len(lines) + 0.5, 0.5)
    colours = colormaps["cividis"].with_extremes(bad="#F2F2F2")
    ax.imshow(np.ma.masked_invalid(values), cmap=colours, extent=box, aspect="auto", vmin=low, vmax=high)
    for (i, j), value in np.ndenumerate(values):
        if math.isfinite(value):
            ink = "white" if value < (low + high) / 2 else "black"
            ax.text(j, -i, f"{value:.3f}", ha="center", va="center", color=ink, fontsize=SIZE - 1)
    for i, (_, kind) in enumerate(lines):
        if kind is None:
            ax.axhspan(-i - 0.5, -i + 0.5, color="white")
    ax.xaxis.tick_top()
    ax.set_xticks(range(len(patterns)), [shortened(p, NAME) for p in patterns], rotation=90, fontsize=SIZE)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    label_rows(ax, lines, size[0])
    lay_out(figure, size)
    return figure
