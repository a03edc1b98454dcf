"""Estimate plots: a line for each row of a table, a panel for each cohort, points with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusionbench.report.estimate import Estimate
from fusionbench.report.figures.figure import Mark
from fusionbench.report.figures.panels import balanced, lay_out, panels
from fusionbench.report.figures.rows import LINE, label_rows, lines_of
from fusionbench.report.figures.style import DASHED, GREY, Style, legend_handle
from fusionbench.report.model import Configuration
from fusionbench.suites.suite import BASE

PANELS = {1: 3.0, 2: 2.6}
"""Inches of a panel's width, by the number of panels side by side; of more than two 1.9."""


@dataclass(frozen=True)
class Series:
    """Points that share a style and an entry of the legend.

    Attributes:
        dots: (panel, configuration) to the number.
    """

    label: str
    style: Style
    dots: Mapping[tuple[str, Configuration], Estimate]
    filled: bool = True


def dot_figure(
    configs: Iterable[Configuration],
    titles: Sequence[str],
    series: Sequence[Series],
    *,
    axis: str,
    reference: float,
    most: int = 4,
) -> tuple[Figure, list[Mark]]:
    """The figure, and its points with their values; rows that no series has a number for are left out.

    Args:
        titles: of the panels, which the series' dots name.
        axis: what the numbers are, with their unit.
        reference: where a dashed line is drawn.
        most: panels side by side.
    """
    present = {config for one in series for _, config in one.dots}
    lines = lines_of([config for config in configs if config in present])
    columns = balanced(len(titles), most)
    size = PANELS.get(columns, 1.9), len(lines) * LINE
    figure, axes = panels(titles, size, most=most, share_y=True)
    marks: list[Mark] = []
    heights = {config: -i for i, (_, config) in enumerate(lines) if config}
    several = sum(len(one.dots) for one in series) > len({place for one in series for place in one.dots})
    step = 0.26 if several else 0.0  # points of one row and panel are drawn above each other
    for i, (title, ax) in enumerate(zip(titles, axes, strict=True)):
        ax.axvline(reference, color=GREY, linewidth=0.8, linestyle=DASHED, zorder=1.5)
        for j, one in enumerate(series):
            marks += _draw(ax, one, title, heights, step * ((len(series) - 1) / 2 - j))
        ax.set_xlabel(axis)
        if i % columns == 0:
            label_rows(ax, lines, columns * size[0])
    _scale(axes, len(lines), [dot for one in series for dot in one.dots.values()], reference)
    handles = [legend_handle(one.style, one.label, filled=one.filled) for one in series]
    lay_out(figure, size, handles if len(series) > 1 else ())
    return figure, marks


def _scale(axes: Sequence[Axes], n_lines: int, dots: Sequence[Estimate], reference: float) -> None:
    """The same limits for all panels, so that cohorts can be compared by eye."""
    numbers = [n for dot in dots for n in (dot.value, dot.low, dot.high) if math.isfinite(n)] + [reference]
    low, high = min(numbers), max(numbers)
    margin = 0.06 * (high - low) or 0.1
    for ax in axes:
        ax.set(xlim=(low - margin, high + margin), ylim=(-n_lines + 0.4, 0.6))
        ax.grid(visible=False, axis="y")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)


def _draw(ax: Axes, series: Series, panel: str, heights: Mapping[Configuration, int], shift: float) -> list[Mark]:
    of_panel = [(config, dot) for (title, config), dot in series.dots.items() if title == panel]
    drawn = [(config, dot, heights[config] + shift) for config, dot in of_panel if math.isfinite(dot.value)]
    known = [(dot, y) for _, dot, y in drawn]
    spans = [(dot, y) for dot, y in known if math.isfinite(dot.low)]
    style = series.style
    # not `errorbar`: the mean over folds may lie outside a bootstrap interval
    ax.hlines(
        [y for _, y in spans],
        [dot.low for dot, _ in spans],
        [dot.high for dot, _ in spans],
        colors=style.colour,
        linewidth=1.1,
    )
    ax.plot(
        [dot.value for dot, _ in known],
        [y for _, y in known],
        color=style.colour,
        marker=style.marker,
        markersize=4,
        markerfacecolor=style.colour if series.filled else "white",
        linestyle="none",
    )
    return [Mark(ax, dot.value, y, f"{panel}: {_name(config)}: {dot.text()}") for config, dot, y in drawn]


def _name(config: Configuration) -> str:
    model, modalities, variant = config
    return f"{model} on {modalities}" + ("" if variant == BASE else f" ({variant})")
