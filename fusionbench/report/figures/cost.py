"""What a c-index or AUROC costs: training seconds, fitted parameters, memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fusionbench.report.analysis import Analysis
from fusionbench.report.figures.figure import FigureOrOmitted, Omitted, ReportFigure, numbered
from fusionbench.report.figures.panels import lay_out, logarithmic, panels
from fusionbench.report.figures.style import legend_handle, shortened, styles
from fusionbench.report.findings.estimates import RowMean, row_means
from fusionbench.report.model import RowKey, is_oracle, row_keys
from fusionbench.results.frames import COST_COLUMNS, PREPARATION

TITLE = "Cost against {score}"
AXES: Mapping[str, str] = {
    "fit_seconds": "training time of a fold (seconds)",
    PREPARATION: "preparing a fold before training (seconds)",
    "n_parameters": "fitted parameters",
    "process_peak_mib": "peak memory of the process (MiB)",
}
NAME = 2.9
"""Inches of a model's name in the legend."""

_CAPTION = (
    "Means over folds, on logarithmic axes; a point is a row of the table. Time is of fitting alone, on the machine "
    "named below; of a model built on others' predictions without theirs. {memory}{absent}"
)
_MEMORY = "Memory is the highest that the process had reached by then, with all cells it had run before. "
_NOT_STORED = (
    "training times, parameters and memory are not stored with these results; running the suite again writes them "
    "into cells.csv, also where every cell is there already"
)


def costs(cells: pd.DataFrame) -> dict[RowKey, dict[str, float]]:
    """Row to the mean over its folds of each cost that is stored."""
    there = [name for name in AXES if name in cells.columns]
    numbers = cells[there].apply(pd.to_numeric, errors="coerce")
    means = numbers.groupby(pd.Index(row_keys(cells), tupleize_cols=False), sort=False).mean()
    return {row: {n: float(v) for n, v in of.items() if v > 0} for row, of in means.to_dict("index").items()}


def cost(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[FigureOrOmitted]:
    """A figure for each cohort, a panel for each cost that is known of two rows."""
    known = costs(analysis.stored.cells)
    rows = [m for m in row_means(analysis) if not is_oracle(m.row[1])]
    by_dataset = {name: [m for m in rows if m.row[0] == name] for name in dict.fromkeys(m.row[0] for m in rows)}
    drawable = {name: quantities for name, of in by_dataset.items() if (quantities := _known(of, known))}
    if not drawable:
        anything = any(known.values())
        title = TITLE.format(score=analysis.score_names)
        yield Omitted(title, "fewer than two rows have a stored cost" if anything else _NOT_STORED)
    for i, (dataset, quantities) in enumerate(drawable.items()):
        of, words = by_dataset[dataset], analysis.words(dataset)
        absent = [AXES[name] for name in COST_COLUMNS if name not in quantities]
        caption = _CAPTION.format(
            memory=_MEMORY if "process_peak_mib" in quantities else "",
            absent=f"Not stored: {', '.join(absent)}." if absent else "",
        ).strip()
        known_costs = " and ".join(AXES[q] for q in quantities)
        alt = f"Scatter of {words.short} against {known_costs}, {len(of)} rows on {dataset}."
        figure = cost_figure(of, known, quantities, words.axis)
        yield ReportFigure(
            numbered("cost", i, len(drawable)), f"{TITLE.format(score=words.short)}: {dataset}", caption, alt, figure
        )


def _known(rows: Sequence[RowMean], known: Mapping[RowKey, Mapping[str, float]]) -> list[str]:
    return [name for name in AXES if sum(name in known.get(m.row, {}) for m in rows) > 1]


def cost_figure(
    rows: Sequence[RowMean], known: Mapping[RowKey, Mapping[str, float]], quantities: Sequence[str], axis: str
) -> Figure:
    """A panel for each quantity, a style for each model; names of the rows, whose points are near, would overlap."""
    by_model = styles(list(dict.fromkeys(m.row[1] for m in rows)))
    size = (2.9, 2.3)
    figure, axes = panels([""] * len(quantities), size, most=3)
    for quantity, ax in zip(quantities, axes, strict=True):
        for m in rows:
            if quantity in known.get(m.row, {}):
                style = by_model[m.row[1]]
                value = known[m.row][quantity]
                ax.plot([value], [m.mean], marker=style.marker, color=style.colour, markersize=5, alpha=0.85)
        ax.set(xlabel=AXES[quantity], ylabel=axis)
        logarithmic(ax)
    lay_out(figure, size, [legend_handle(style, shortened(model, NAME)) for model, style in by_model.items()])
    return figure
