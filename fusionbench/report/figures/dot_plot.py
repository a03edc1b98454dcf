"""A line for each row, a panel for each cohort: points with intervals, rows named once a line of panels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from fusionbench.report.figures.frame import Side, frame
from fusionbench.report.figures.names import LINE, lines_of, room_for, write_names
from fusionbench.report.figures.panel import Panel
from fusionbench.report.figures.panels import Room, balanced, panels
from fusionbench.report.figures.rows import Kind
from fusionbench.report.figures.style import Look, handle, legend

PANELS = {1: 3.8, 2: 2.6}
"""Inches of a panel's width, by the number of panels side by side; of more than two 1.9."""


@dataclass(frozen=True)
class Dot:
    """A number with its 95 % interval; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Series:
    """Marks of one meaning.

    Attributes:
        dots: (panel, kind) to the number.
    """

    label: str
    look: Look
    dots: Mapping[tuple[str, Kind], Dot]
    filled: bool = True


def dot_figure(
    kinds: Iterable[Kind],
    titles: Sequence[str],
    series: Sequence[Series],
    *,
    axis: str,
    reference: float,
    most: int = 4,
) -> Figure:
    """Rows that no series has a number for are left out.

    Args:
        titles: of the panels, which the series' dots name.
        axis: what the numbers are, with their unit.
        reference: a line to hold them against.
    """
    there = {kind for of in series for _, kind in of.dots}
    lines = lines_of([kind for kind in kinds if kind in there])
    labels = [of.label for of in series] if len(series) > 1 else []
    left = room_for(lines)
    columns = balanced(len(titles), most)
    panel = PANELS.get(columns, 1.9)
    room = Room(panel, len(lines) * LINE, left=0.1, right=0.1, margin=left, below=0.5)
    figure, axes = panels(titles, room, most=most, labels=labels)
    places = {kind: -i for i, (_, kind) in enumerate(lines) if kind}
    step = 0.26 if sum(len(of.dots) for of in series) > len({d for of in series for d in of.dots}) else 0.0
    limits = _limits([dot for of in series for dot in of.dots.values()], reference)
    for i, (title, ax) in enumerate(zip(titles, axes, strict=True)):
        _scale(ax, len(lines), limits, reference, axis)
        for j, of in enumerate(series):
            _draw(ax, of, title, places, step * ((len(series) - 1) / 2 - j))
        if i % columns == 0:
            write_names(figure, lines, left - 0.1, panel, columns * (panel + 0.2) - 0.3, ax.beside)
    if labels:
        legend(figure, [handle(of.look, of.label, filled=of.filled) for of in series])
    return figure


def _limits(dots: Sequence[Dot], reference: float) -> tuple[float, float]:
    numbers = [n for dot in dots for n in (dot.value, dot.low, dot.high) if math.isfinite(n)] + [reference]
    low, high = min(numbers), max(numbers)
    room = 0.06 * (high - low) or 0.1
    return low - room, high + room


def _scale(ax: Panel, n: int, limits: tuple[float, float], reference: float, axis: str) -> None:
    ax.limit(x=limits, y=(-n + 0.4, 0.6))
    ax.upright(reference)
    frame(ax, Side(axis), None)


def _draw(ax: Panel, of: Series, panel: str, places: Mapping[Kind, int], shift: float) -> None:
    there = [(dot, places[kind] + shift) for (title, kind), dot in of.dots.items() if title == panel]
    known = [(dot, y) for dot, y in there if math.isfinite(dot.value)]
    spans = [(dot, y) for dot, y in known if math.isfinite(dot.low)]
    heights, low, high = [y for _, y in spans], [dot.low for dot, _ in spans], [dot.high for dot, _ in spans]
    ax.spans(low, high, heights, color=of.look.colour, linewidth=1.1, zorder=1.9)
    face = of.look.colour if of.filled else "white"
    style: dict[str, Any] = {"marker": of.look.marker, "markersize": 4, "linestyle": "none"}
    values, heights_of = [dot.value for dot, _ in known], [y for _, y in known]
    ax.line(values, heights_of, color=of.look.colour, markerfacecolor=face, **style)
