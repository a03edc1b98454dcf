"""A panel's axes, ticks, grid and words as a few artists of the figure; matplotlib's own are some hundred a panel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator

from fusionbench.report.figures.style import GREY, PALE, RC, SIZE

TICK = 0.05
"""Inches of a tick's mark, and from there to its text."""

ROUND = (1, 2, 5, 10)
"""Steps between ticks, times a power of ten."""


@dataclass(frozen=True)
class Side:
    """An axis.

    Attributes:
        label: what it shows, with its unit.
        ticks: where; None puts a few at round numbers.
        texts: of the ticks; None writes the numbers.
    """

    label: str
    ticks: Sequence[float] | None = None
    texts: Sequence[str] | None = None
    integer: bool = False
    log: bool = False
    grid: bool = True


def frame(ax: Axes, x: Side, y: Side | None) -> None:
    """Once what is drawn has set the limits; without `y` there is no axis at the left."""
    ax.set_axis_off()
    for along, side in ((0, x), (1, y)):
        if side is not None:
            _draw(ax, along, side)


def round_ticks(low: float, high: float, *, most: int = 5, integer: bool = False) -> list[float]:
    """A few round numbers in [low, high]."""
    slack = 1e-9 * (high - low)
    found = MaxNLocator(most, steps=ROUND, integer=integer).tick_values(low, high)
    return [float(v) for v in found if low - slack <= v <= high + slack]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, at most six; with 2 and 5 times them in a range of less than two; in a narrow one round."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step, times = max(1, -(-(last - first) // 5)), (1, 2, 5) if math.log10(high / low) <= 2 else (1,)
    found = [v for e in range(first, last + 1, step) for f in times if low <= (v := f * 10.0**e) <= high]
    return found if len(found) > 1 else round_ticks(low, high, most=4)


def written(ticks: Sequence[float]) -> list[str]:
    """With the digits that tell them apart."""
    step = min((b - a for a, b in pairwise(ticks)), default=1.0)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    texts = [f"{round(v, digits) + 0.0:,.{digits}f}" if digits < 6 else f"{v:.3g}" for v in ticks]
    return [text.replace("-", "\N{MINUS SIGN}") for text in texts]


def _draw(ax: Axes, along: int, side: Side) -> None:
    """
    Args:
        along: 0 = x, 1 = y.
    """
    figure, box = ax.get_figure(root=True), ax.get_position()
    assert figure is not None
    low, high = (ax.get_xlim, ax.get_ylim)[along]()
    ticks = side.ticks
    if ticks is None:
        ticks = log_ticks(low, high) if side.log else round_ticks(low, high, integer=side.integer)
    texts = [f"{v:,.6g}" for v in ticks] if side.log else written(ticks)
    texts = texts if side.texts is None else list(side.texts)
    start, size = ((box.x0, box.width), (box.y0, box.height))[along]
    scaled = np.log10 if side.log else np.asarray
    places = start + size * (scaled(ticks) - scaled(low)) / (scaled(high) - scaled(low))
    inches = figure.get_size_inches()
    edge, far = ((box.y0, box.y1), (box.x0, box.x1))[along]
    out = TICK / inches[1 - along]

    def line(a: float, b: float, at: float) -> list[tuple[float, float]]:
        return [(at, a), (at, b)] if along == 0 else [(a, at), (b, at)]

    if side.grid:
        of_grid = [line(edge, far, at) for at in places]
        figure.add_artist(LineCollection(of_grid, colors=PALE, linewidths=0.5, transform=figure.transFigure, zorder=-1))
    whole = [(start, edge), (start + size, edge)] if along == 0 else [(edge, start), (edge, start + size)]
    marks = [whole, *(line(edge - out, edge, at) for at in places)]
    figure.add_artist(
        LineCollection(
            marks, colors=GREY, linewidths=RC["axes.linewidth"], transform=figure.transFigure, capstyle="projecting"
        )
    )
    for at, text in zip(places, texts, strict=True):
        x, y = (at, edge - 2 * out) if along == 0 else (edge - 2 * out, at)
        ha, va = (("center", "top"), ("right", "center_baseline"))[along]
        figure.text(x, y, text, ha=ha, va=va, fontsize=SIZE - 1)
    place = (ax.xaxis, ax.yaxis)[along].label.get_position()
    ha, va, rotation = (("center", "top", 0.0), ("center", "bottom", 90.0))[along]
    ax.text(*place, side.label, ha=ha, va=va, rotation=rotation, rotation_mode="anchor", transform=ax.transAxes)
