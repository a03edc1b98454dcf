"""Drawings of predicted classes: curves over thresholds, calibration with a histogram, confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from fusionbench.report.figures.panels import lay_out, panels
from fusionbench.report.figures.predictions import Floats, JoinedClasses
from fusionbench.report.figures.style import COLOURS, DASHED, GREY, PALE, SIZE, Style, legend_handle, shortened, styles

Curve = tuple[NDArray[np.bool_], Floats]
"""(case,) whether each case is of the class, and the predicted probability of the class."""

SIZE_OF_CURVES = (2.6, 2.2)
THRESHOLDS = np.linspace(0.01, 0.99, 99)
"""Of the decision curve."""

MOST_PARTS, LEAST_CASES = 10, 20
"""Parts of a calibration curve, and cases of a part."""

BARS = 20
"""Of the histogram of predictions."""


def curves_figure(rows: Mapping[str, Curve], prevalence: float) -> Figure:
    """ROC, precision over recall, and net benefit over the threshold, a line for each row.

    Args:
        rows: entry of the legend to the row's cases.
    """
    figure, (roc, precision, benefit) = panels(
        ["ROC", "Precision and recall", "Decision curve"], SIZE_OF_CURVES, most=3
    )
    look = _lines(list(rows))
    for name, (own, probability) in rows.items():
        line = {"color": look[name].colour, "linestyle": look[name].line}
        _roc(roc, own, probability, line)
        precisions, recalls, _ = precision_recall_curve(own, probability)
        precision.plot(recalls, precisions, drawstyle="steps-post", **line)
        benefit.plot(THRESHOLDS, net_benefit(own, probability), **line)
    _diagonal(roc)
    precision.axhline(prevalence, color=GREY, linewidth=0.8, linestyle=DASHED)
    everybody = prevalence - (1 - prevalence) * THRESHOLDS / (1 - THRESHOLDS)
    benefit.plot(THRESHOLDS, everybody, color=GREY, linewidth=0.8, linestyle=DASHED)
    benefit.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    precision.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    benefit.set(xlim=(0, 1), ylim=(-0.15, prevalence + 0.05), xlabel="threshold", ylabel="net benefit")
    lay_out(figure, SIZE_OF_CURVES, [legend_handle(style, name, line=True) for name, style in look.items()])
    return figure


def one_vs_rest_figure(classes: Mapping[str, Curve]) -> Figure:
    """ROC of each class against the others.

    Args:
        classes: entry of the legend to the cases.
    """
    figure, (ax,) = panels([""], SIZE_OF_CURVES, most=1)
    look = _lines(list(classes))
    for name, (own, probability) in classes.items():
        if 0 < own.sum() < len(own):
            _roc(ax, own, probability, {"color": look[name].colour, "linestyle": look[name].line})
    _diagonal(ax)
    lay_out(figure, SIZE_OF_CURVES, [legend_handle(style, name, line=True) for name, style in look.items()])
    return figure


def net_benefit(own: NDArray[np.bool_], probability: Floats) -> Floats:
    """(threshold,) net benefit of treating the cases at or above each of `THRESHOLDS`.

    Source: Vickers and Elkin 2006.
    """
    treated = probability[None, :] >= THRESHOLDS[:, None]
    right, wrong = (treated & own).mean(axis=1), (treated & ~own).mean(axis=1)
    return np.asarray(right - wrong * THRESHOLDS / (1 - THRESHOLDS))


def calibration_figure(rows: Mapping[str, Curve], positive: str) -> Figure:
    """A panel for each row: observed share by predicted probability, above a histogram of the predictions."""
    size = (2.1, 2.1)
    figure, axes = panels(list(rows), size, most=3)
    for (own, probability), ax in zip(rows.values(), axes, strict=True):
        counts, edges = np.histogram(probability, bins=BARS, range=(0, 1))
        ax.bar(edges[:-1], 0.25 * counts / counts.max(), width=1 / BARS, align="edge", color=PALE, zorder=0)
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=DASHED)
        x, share, low, high = calibration_points(own, probability)
        ax.vlines(x, low, high, colors=COLOURS[0], linewidth=1.1)
        ax.plot(x, share, color=COLOURS[0], marker="o", markersize=4)
        ax.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        ax.set(xlabel=f"predicted probability of {shortened(positive, 0.8)}", ylabel="observed share")
    lay_out(figure, size)
    return figure


def calibration_points(own: NDArray[np.bool_], probability: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """(part,) mean prediction, observed share, and its 95 % interval (Wilson 1927) of equal parts by prediction."""
    parts = max(2, min(MOST_PARTS, len(own) // LEAST_CASES))
    groups = np.array_split(np.argsort(probability, kind="stable"), parts)
    n = np.array([len(group) for group in groups])
    share = np.array([own[group].mean() for group in groups])
    z = 1.959963984540054  # the normal distribution's 97.5 % point
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return np.array([probability[group].mean() for group in groups]), share, middle - reach, middle + reach


def confusion_figure(rows: Mapping[str, JoinedClasses], classes: Sequence[str]) -> Figure:
    """A panel for each row: counts of each true class by the predicted one."""
    cell = 0.5 if len(classes) < 6 else 0.36
    size = (max(1.6, cell * len(classes)), max(1.3, cell * len(classes)))
    figure, axes = panels(list(rows), size, most=3)
    names, places = [shortened(name, 0.8) for name in classes], range(len(classes))
    for of, ax in zip(rows.values(), axes, strict=True):
        counts = confusion_matrix(of.label, of.predicted, labels=list(places))
        shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        ax.imshow(shares, cmap=colormaps["Blues"], vmin=0, vmax=1.3, aspect="auto")
        for (i, j), count in np.ndenumerate(counts):
            ink = "white" if shares[i, j] > 0.75 else "black"
            ax.text(j, i, str(count), ha="center", va="center", color=ink, fontsize=SIZE)
        ax.set_xticks(places, names, rotation=90 if len(classes) > 3 else 0)
        ax.set_yticks(places, names)
        ax.set(xlabel="predicted", ylabel="true")
        ax.tick_params(length=0)
        ax.grid(visible=False)
    lay_out(figure, size)
    return figure


def _lines(names: Sequence[str]) -> dict[str, Style]:
    """A colour and line for each name, without a marker."""
    return {name: replace(style, marker="") for name, style in styles(names).items()}


def _roc(ax: Axes, own: NDArray[np.bool_], probability: Floats, line: Mapping[str, Any]) -> None:
    false, true, _ = roc_curve(own, probability)
    ax.plot(false, true, **line)


def _diagonal(ax: Axes) -> None:
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=DASHED)
    ax.set(xlim=(-0.01, 1), ylim=(0, 1.01), xlabel="false positive rate", ylabel="sensitivity")
