"""A panel's axes, ticks and grid as two lines for each side, and their words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fusionbench.report.figures.panel import Panel
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
    grid: bool = True


def frame(panel: Panel, x: Side, y: Side | None) -> None:
    """Once all is drawn that sets the limits; without `y` there is no axis at the left."""
    for along, side in ((0, x), (1, y)):
        if side is not None:
            _draw(panel, along, side)


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


def _draw(panel: Panel, along: int, side: Side) -> None:
    """
    Args:
        along: 0 = x, 1 = y.
    """
    figure, box = panel.get_figure(root=True), panel.place
    assert figure is not None
    log = panel.log and along == 0
    low, high = panel.limits()[along]
    ends = (10**low, 10**high) if log else (low, high)
    ticks = side.ticks
    if ticks is None:
        ticks = log_ticks(*ends) if log else round_ticks(*ends, integer=side.integer)
    texts = [f"{v:,.6g}" for v in ticks] if log else written(ticks)
    texts = texts if side.texts is None else list(side.texts)
    start, size = ((box.x0, box.width), (box.y0, box.height))[along]
    places = start + size * ((np.log10(ticks) if log else np.asarray(ticks)) - low) / (high - low)
    edge, far = ((box.y0, box.y1), (box.x0, box.x1))[along]
    out = TICK / figure.get_size_inches()[1 - along]
    if side.grid:
        _lines(figure, along, [(at, edge, at, far) for at in places], color=PALE, linewidth=0.5, zorder=-1)
    marks = [(start, edge, start + size, edge), *((at, edge - out, at, edge) for at in places)]
    _lines(figure, along, marks, color=GREY, linewidth=RC["axes.linewidth"], zorder=1)
    for at, text in zip(places, texts, strict=True):
        x, y = (at, edge - 2 * out) if along == 0 else (edge - 2 * out, at)
        ha, va = (("center", "top"), ("right", "center_baseline"))[along]
        figure.text(x, y, text, ha=ha, va=va, fontsize=SIZE - 1)
    ha, va, rotation = (("center", "top", 0.0), ("center", "bottom", 90.0))[along]
    place = panel.labels[along]
    panel.text(*place, side.label, panel.within, ha=ha, va=va, rotation=rotation, rotation_mode="anchor")


def _lines(figure: Figure, along: int, ends: Sequence[tuple[float, float, float, float]], **style: Any) -> None:
    """Straight lines as one, which is broken between them.

    Args:
        ends: where each begins and ends, along the axis and across it, in figure fractions.
    """
    places = np.full((len(ends), 3, 2), np.nan)
    places[:, :2] = np.reshape(ends, (-1, 2, 2))
    x, y = places.reshape(-1, 2).T[:: 1 if along == 0 else -1]
    figure.add_artist(Line2D(x, y, transform=figure.transFigure, **style))
