"""Figures of several titled panels of one size, laid out by matplotlib's constrained layout."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from fusionbench.report.figures.style import inches, wrapped

KEY = 0.6
"""Inches of a legend's column beside its text: the mark, and the space around both."""

Size = tuple[float, float]
"""Width and height of a panel in inches."""


def balanced(n: int, most: int) -> int:
    """Columns of a grid of `n` panels, at most `most`, so that its rows are about equally long."""
    return -(-n // -(-n // most))


def panels(titles: Sequence[str], size: Size, *, most: int, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with a titled panel for each name, in reading order; `lay_out` gives the panels their size.

    Args:
        most: panels side by side.
        share_y: panels have one y axis, with tick labels left of the first panel in each row.
    """
    columns = balanced(len(titles), most)
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(columns * (size[0] + 1) + 3, rows * (size[1] + 2) + 1), layout="constrained")
    grid = [ax for row in figure.subplots(rows, columns, squeeze=False, sharey=share_y) for ax in row]
    for title, ax in zip(titles, grid, strict=False):
        ax.set_title(wrapped(title, size[0]))
    for ax in grid[len(titles) :]:
        ax.remove()
    return figure, grid[: len(titles)]


def lay_out(figure: Figure, size: Size, handles: Sequence[Line2D] = ()) -> None:
    """Place panels and a legend below them, and fix the layout; the figure becomes as large as the panels ask for.

    Constrained layout divides a figure of given size. Here the panels have a given size, so the figure is resized by
    what its panels lack: first its width, which decides on the legend's columns, then its height.
    """
    _resize(figure, size)
    if handles:
        width = max(inches(str(handle.get_label())) for handle in handles) + KEY
        columns = max(1, min(len(handles), int(figure.get_figwidth() / width)))
        figure.set_figheight(figure.get_figheight() + len(handles) / columns * 0.2 + 0.2)  # room to begin with
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        _resize(figure, size)
    _place(figure)
    figure.set_layout_engine("none")  # both files, of different resolution, get the same places


def _resize(figure: Figure, size: Size) -> None:
    _place(figure)
    ax = figure.axes[0]
    spec, box = ax.get_subplotspec(), ax.get_position(original=True)
    assert spec is not None
    rows, columns = spec.get_gridspec().get_geometry()
    width, height = (float(inches) for inches in figure.get_size_inches())
    figure.set_size_inches(
        width + columns * (size[0] - float(box.width) * width), height + rows * (size[1] - float(box.height) * height)
    )


def _place(figure: Figure) -> None:
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)


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
