"""Training curves over epochs: training and validation loss, validation c-index or AUROC."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fusionbench.core.cell_result import OWN_QUANTITIES, STAGE
from fusionbench.report.analysis import Analysis
from fusionbench.report.figures.figure import FigureOrOmitted, Omitted, ReportFigure, numbered
from fusionbench.report.figures.panels import lay_out, panels
from fusionbench.report.figures.rows import row_label, widest
from fusionbench.report.figures.style import COLOURS, GREY, Style, legend_handle
from fusionbench.report.model import AUROC, HARRELL, RowKey, row_key
from fusionbench.results.frames import ROW

MOST = 6
"""Rows of a cohort that are drawn."""
MOST_AUXILIARY = 12
"""Panels of auxiliary losses that are drawn, each of one row and one loss."""

_CAPTION = (
    "Thick: mean over folds, where every fold was still training; thin: each fold. {more}Losses of different kinds or "
    "weights have different scales: compare their course. The best weights on validation are kept, not the last ones."
)
_STAGES = "Dotted: a further stage of the training begins. "


@dataclass(frozen=True)
class Quantity:
    """What one kind of figure shows.

    Attributes:
        parts: of the history's `split`, with their look.
    """

    name: str
    title: str
    axis: str
    parts: Mapping[str, Style]


@dataclass(frozen=True)
class Curves:
    """What a panel shows.

    Attributes:
        history: epoch, split and value of a quantity, and repeat and fold.
        stages: the first epochs of all stages of the training but the first stage.
    """

    history: pd.DataFrame
    stages: tuple[int, ...] = ()


QUANTITIES = (
    Quantity("loss", "Training curves", "loss", {"train": Style(COLOURS[0], ""), "val": Style(COLOURS[1], "")}),
    Quantity("c_index", "Validation c-index while training", "c-index", {"val": Style(COLOURS[1], "")}),
    Quantity("auroc", "Validation AUROC while training", "AUROC", {"val": Style(COLOURS[1], "")}),
)
VALIDATION: Mapping[str, str] = {HARRELL: "c_index", AUROC: "auroc"}
"""What rows are ranked by to the quantity that is watched on validation cases."""

BESIDE = Quantity(
    "auxiliary-losses",
    "Auxiliary losses while training",
    "loss, without its weight",
    {"train": Style(COLOURS[0], ""), "val": Style(COLOURS[1], "")},
)
"""What models train beside the task's loss; each under the name that the model gives it."""

LABELS = {"train": "training", "val": "validation"}


def training(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[FigureOrOmitted]:
    """A figure for each cohort and quantity."""
    history = analysis.frames.history
    stages = _stages(history)
    watched = {"loss", *(VALIDATION[name] for name in analysis.rankings)}
    for quantity in (of for of in QUANTITIES if of.name in watched):
        of = history[(history["quantity"] == quantity.name) & history["split"].isin(list(quantity.parts))]
        several = of.groupby([*ROW, "repeat", "fold"], observed=True)["epoch"].transform("nunique") > 1
        of = of[several]
        datasets = list(dict.fromkeys(of["dataset"].astype(str)))
        if not datasets:
            yield Omitted(
                quantity.title, "no curves over epochs are stored: nothing was trained so, or they were not kept"
            )
        for i, dataset in enumerate(datasets):
            name = f"training-{quantity.name.replace('_', '-')}"
            rows = _by_row(analysis, of[of["dataset"] == dataset])
            curves = {row_label(row): Curves(part, stages.get(row, ())) for row, part in rows.items()}
            yield _drawn(dataset, curves, MOST, quantity, numbered(name, i, len(datasets)))
    yield from _auxiliary(analysis, history, stages)


def _stages(history: pd.DataFrame) -> dict[RowKey, tuple[int, ...]]:
    """Epochs at which a further stage begins, of rows that are trained in stages."""
    of = history[history["quantity"] == STAGE].drop_duplicates([*ROW, "epoch"]).sort_values("epoch")
    begun = of[of.groupby(ROW, observed=True)["value"].diff().fillna(0) != 0]
    return {row_key(key): tuple(part["epoch"]) for key, part in begun.groupby(ROW, sort=False, observed=True)}


def _auxiliary(
    analysis: Analysis, history: pd.DataFrame, stages: Mapping[RowKey, tuple[int, ...]]
) -> Iterator[ReportFigure]:
    """A figure for each cohort with models that log losses of their own."""
    of = history[history["split"].isin(list(BESIDE.parts)) & ~history["quantity"].isin(list(OWN_QUANTITIES))]
    datasets = list(dict.fromkeys(of["dataset"].astype(str)))
    for i, dataset in enumerate(datasets):
        curves = {
            f"{quantity} of {row_label(row)}": Curves(part, stages.get(row, ()))
            for row, mine in _by_row(analysis, of[of["dataset"] == dataset]).items()
            for quantity, part in mine.groupby("quantity", sort=False, observed=True)
        }
        name = numbered(f"training-{BESIDE.name}", i, len(datasets))
        yield _drawn(dataset, curves, MOST_AUXILIARY, BESIDE, name)


def _by_row(analysis: Analysis, history: pd.DataFrame) -> dict[RowKey, pd.DataFrame]:
    """The history of each model on its largest modality set."""
    by_row = {row_key(key): part for key, part in history.groupby(ROW, sort=False, observed=True)}
    return {row: by_row[row] for row in widest(list(by_row), analysis.inputs)}


def _drawn(dataset: str, curves: Mapping[str, Curves], most: int, quantity: Quantity, name: str) -> ReportFigure:
    shown = dict(list(curves.items())[:most])
    more = "Each model on its largest modality set. "
    more += f"The first {most} of {len(curves)}. " if len(curves) > most else ""
    more += _STAGES if any(of.stages for of in shown.values()) else ""
    alt = f"Curves over epochs of {len(shown)} rows on {dataset}: {', '.join(shown)}."
    figure = curve_figure(shown, quantity)
    return ReportFigure(name, f"{quantity.title}: {dataset}", _CAPTION.format(more=more), alt, figure)


def by_fold(of: pd.DataFrame) -> pd.DataFrame:
    """(epoch, fold) values of one row, split and quantity; NaN where a fold had stopped.

    Args:
        of: epoch, value and repeat, fold.
    """
    epochs, rows = np.unique(of["epoch"].to_numpy(), return_inverse=True)
    places, columns = np.unique(of[["repeat", "fold"]].to_numpy(), axis=0, return_inverse=True)
    wide = np.full((len(epochs), len(places)), np.nan)
    values = of["value"].to_numpy(np.float64)
    wide[rows, columns.reshape(-1)] = np.where(np.isfinite(values), values, np.nan)
    return pd.DataFrame(wide, index=epochs)


def mean_curve(curves: pd.DataFrame) -> pd.Series[float]:
    """Epoch to the mean over folds, at epochs that every fold has."""
    return curves.dropna().mean(axis=1)


def curve_figure(curves: Mapping[str, Curves], quantity: Quantity) -> Figure:
    """A panel for each title and its curves; a line where a further stage of the training begins."""
    size = (2.0, 1.5)
    figure, axes = panels(list(curves), size, most=4)
    for of, ax in zip(curves.values(), axes, strict=True):
        for part, style in quantity.parts.items():
            _draw(ax, by_fold(of.history[of.history["split"] == part]), style)
        for epoch in of.stages:
            ax.axvline(epoch - 0.5, color=GREY, linewidth=0.8, linestyle=":")
        ax.set(xlabel="epoch", ylabel=quantity.axis)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    lay_out(figure, size, [legend_handle(style, LABELS[part], line=True) for part, style in quantity.parts.items()])
    return figure


def _draw(ax: Axes, curves: pd.DataFrame, style: Style) -> None:
    ax.plot(curves.index, curves.to_numpy(), color=style.colour, linewidth=0.5, alpha=0.35)
    mean = mean_curve(curves)
    ax.plot(mean.index, mean, color=style.colour, linewidth=1.8)
