"""Figures of several titled panels of one size, each placed by the room that its texts need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from fusionbench.report.figures.style import inches, wrapped

KEY = 0.6
"""Inches of a legend's column beside its text: the mark, and the space around both."""
PAD = 0.08
"""Inches of white around a panel with its texts."""

Size = tuple[float, float]
"""Width and height of a panel in inches."""


def balanced(n: int, most: int) -> int:
    """Columns of a grid of `n` panels, at most `most`, so that its rows are about equally long."""
    return -(-n // -(-n // most))


def panels(titles: Sequence[str], size: Size, *, most: int, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with a titled panel for each name, in reading order; `lay_out` places the panels.

    Args:
        most: panels side by side.
        share_y: panels have one y axis, with tick labels left of the first panel in each row.
    """
    columns = balanced(len(titles), most)
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=size)
    grid = [ax for row in figure.subplots(rows, columns, squeeze=False, sharey=share_y) for ax in row]
    for title, ax in zip(titles, grid, strict=False):
        ax.set_title(wrapped(title, size[0]), y=1.0)  # a given height spares a search for a free one
    for ax in grid[len(titles) :]:
        ax.remove()
    return figure, grid[: len(titles)]


def lay_out(figure: Figure, size: Size, handles: Sequence[Line2D] = ()) -> None:
    """Give every panel its size and place panels and a legend below them; the figure becomes as large as they need.

    Columns are as far apart as the texts beside their panels ask for, rows as those above and below.
    """
    _place(figure, size, handles, [str(handle.get_label()) for handle in handles], _columns(figure))


def stack(figure: Figure) -> bool:
    """Place the panels of a figure below each other, for a narrow screen.

    Returns:
        False, and the figure is as it was, where it has one column, or panels that share tick labels.
    """
    axes = _panels_of(figure)
    if not axes or _columns(figure) == 1 or len(axes[0].get_shared_y_axes().get_siblings(axes[0])) > 1:
        return False
    box, (width, height) = axes[0].get_position(original=True), figure.get_size_inches()
    handles, labels = [], []
    for legend in list(figure.legends):
        handles, labels = list(legend.legend_handles), [text.get_text() for text in legend.texts]
        legend.remove()
    _place(figure, (float(box.width * width), float(box.height * height)), handles, labels, 1)
    return True


def _panels_of(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_subplotspec() is not None]


def _columns(figure: Figure) -> int:
    spec = _panels_of(figure)[0].get_subplotspec()
    assert spec is not None
    return int(spec.get_gridspec().ncols)


def _place(figure: Figure, size: Size, handles: Sequence[Any], labels: Sequence[str], columns: int) -> None:
    # not constrained layout, which divides a figure of given size and measures every text about six times
    axes = _panels_of(figure)
    rows = -(-len(axes) // columns)
    left, right, below, above = np.zeros(columns), np.zeros(columns), np.zeros(rows), np.zeros(rows)
    figure.set_size_inches(size)
    FigureCanvasAgg(figure)  # its renderer keeps the widths of texts
    for n, ax in enumerate(axes):
        ax.set_position((0, 0, 1, 1))  # the texts of a panel depend on its size, not on its place
        i, j = divmod(n, columns)
        panel, texts = ax.get_window_extent(), ax.get_tightbbox()
        assert texts is not None  # it is None of what is not visible
        left[j] = max(left[j], (panel.x0 - texts.x0) / figure.dpi)
        right[j] = max(right[j], (texts.x1 - panel.x1) / figure.dpi)
        below[i] = max(below[i], (panel.y0 - texts.y0) / figure.dpi)
        above[i] = max(above[i], (texts.y1 - panel.y1) / figure.dpi)
    x = np.cumsum(left + right + size[0] + 2 * PAD) - right - size[0] - PAD
    width = float(x[-1] + size[0] + right[-1] + PAD)
    room = 0.0
    if handles:
        longest = max(inches(line) for label in labels for line in label.splitlines())
        entries = max(1, min(len(handles), int(width / (longest + KEY))))
        legend = figure.legend(handles, labels, loc="lower center", ncols=entries)
        extent = legend.get_window_extent()
        room = extent.height / figure.dpi + PAD
        width = max(width, extent.width / figure.dpi)
    y = np.cumsum((below + above + size[1] + 2 * PAD)[::-1])[::-1] - above - size[1] - PAD + room
    height = float(y[0] + size[1] + above[0] + PAD)
    figure.set_size_inches(width, height)
    for n, ax in enumerate(axes):
        i, j = divmod(n, columns)
        ax.set_position((x[j] / width, y[i] / height, size[0] / width, size[1] / height))


def logarithmic(ax: Axes) -> None:
    """Make x logarithmic, with plain numbers at few ticks; call it once all is drawn.

    Ticks are powers of ten, in a range of two decades or less with 2 and 5 times them, and linear in less than one
    decade, where few of those lie.
    """
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    decades = math.log10(high / low)
    logs = LogLocator(subs=(1, 2, 5) if decades <= 2 else (1,), numticks=7)
    ax.xaxis.set_major_locator(logs if decades >= 1 else MaxNLocator(4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    ax.xaxis.set_minor_locator(NullLocator())
