"""A panel: what matplotlib's Axes is for, without ticks, spines and locators; a report has some hundred and sixty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.text import Text
from matplotlib.transforms import (
    Bbox,
    BboxTransformFrom,
    BboxTransformTo,
    TransformedBbox,
    blended_transform_factory,
)
from numpy.typing import ArrayLike, NDArray

from fusionbench.report.figures.style import GREY

MARGIN = 0.05
"""Of the range, beyond the numbers drawn, where no limits are set."""

Limits = tuple[float, float]
Floats = NDArray[np.float64]
A = TypeVar("A", bound=Artist)


class Panel(Artist):
    """A rectangle of a figure with its own scales.

    Args:
        place: in figure fractions.
        log: x is on a logarithmic scale.

    Attributes:
        within: transform of fractions of the panel; data: of numbers on both scales; below: of numbers on x and a
            fraction upwards; beside: of a fraction to the right and numbers on y.
        labels: where the middles of the labels of x and y stand, in fractions of the panel.
    """

    def __init__(self, figure: Figure, place: Bbox, *, log: bool = False) -> None:
        super().__init__()
        self.place, self.log = place, log
        self.labels = ((0.5, 0.0), (0.0, 0.5))
        self.lines: list[Line2D] = []
        self.bars: list[Rectangle] = []
        self.texts: list[Text] = []
        self._others: list[Artist] = []
        self._seen = [[math.inf, -math.inf], [math.inf, -math.inf]]
        self._fixed: list[Limits | None] = [None, None]
        self._limits = Bbox.unit()
        self._box = TransformedBbox(place, figure.transFigure)
        self.within = BboxTransformTo(self._box)
        self.data = BboxTransformFrom(self._limits) + self.within
        self.below = blended_transform_factory(self.data, self.within)
        self.beside = blended_transform_factory(self.within, self.data)
        self._figure = figure
        figure.add_artist(self)

    def get_children(self) -> list[Artist]:
        """In the order in which they are drawn."""
        return sorted([*self._others, *self.bars, *self.lines, *self.texts], key=lambda of: of.get_zorder())

    def draw(self, renderer: Any) -> None:
        for artist in self.get_children():
            artist.draw(renderer)
        self.stale = False

    def line(self, x: ArrayLike, y: ArrayLike, **style: Any) -> Line2D:
        """A line through points, broken where one is NaN; or marks, with `linestyle="none"`."""
        right, up = self._numbers(x, y)
        of = Line2D(right, up, transform=self.data, **style)
        self.lines.append(self._own(of))
        return of

    def spans(self, low: Sequence[float], high: Sequence[float], at: Sequence[float], **style: Any) -> Line2D:
        """Horizontal intervals, in one line that is broken between them."""
        x = np.column_stack([low, high, np.full(len(at), np.nan)]).reshape(-1)
        return self.line(x, np.repeat(np.asarray(at, dtype=np.float64), 3), solid_capstyle="butt", **style)

    def upright(self, x: float) -> None:
        """A dashed line to hold numbers against."""
        self._numbers([x], [])
        of = Line2D([x, x], [0, 1], transform=self.below, color=GREY, lw=0.8, ls=(0, (4, 2)), zorder=1.5)
        self.lines.append(self._own(of))

    def area(self, x: ArrayLike, low: ArrayLike, high: ArrayLike, *, colour: str, alpha: float) -> None:
        """What lies between two lines."""
        right, under = self._numbers(x, low)
        _, over = self._numbers(x, high)
        edge = np.concatenate([np.column_stack([right, under]), np.column_stack([right, over])[::-1]])
        of = Polygon(edge, transform=self.data, facecolor=colour, edgecolor="none", alpha=alpha)
        self._others.append(self._own(of))

    def bar(self, y: float, length: float, colour: str) -> None:
        """From 0 to the right; `y` is its middle."""
        high = 0.7
        self._numbers([0.0, length], [y - high / 2, y + high / 2])
        of = Rectangle((0, y - high / 2), length, high, transform=self.data, facecolor=colour, edgecolor="none")
        self.bars.append(self._own(of))

    def text(self, x: float, y: float, text: str, transform: Any, **style: Any) -> None:
        of = Text(x, y, text, transform=transform, **style)
        of.set_figure(self._figure)
        self.texts.append(of)

    def limit(self, *, x: Limits | None = None, y: Limits | None = None) -> None:
        """Fix the ends of a scale; of a logarithmic x their logarithms to base ten."""
        self._fixed = [new or old for new, old in zip((x, y), self._fixed, strict=True)]
        self._scale()

    def limits(self) -> tuple[Limits, Limits]:
        """The ends of x and of y; of a logarithmic x their logarithms to base ten."""
        (left, bottom), (right, top) = self._limits.get_points()
        return (float(left), float(right)), (float(bottom), float(top))

    def _numbers(self, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
        """What is drawn, x as its scale has it; the scales are made to hold it."""
        right, up = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        right = np.log10(right) if self.log else right
        for seen, numbers in zip(self._seen, (right, up), strict=True):
            known = numbers[np.isfinite(numbers)]
            if len(known):
                seen[:] = min(seen[0], float(known.min())), max(seen[1], float(known.max()))
        self._scale()
        return right, up

    def _scale(self) -> None:
        ends = []
        for fixed, (low, high) in zip(self._fixed, self._seen, strict=True):
            room = MARGIN * (high - low) or 0.1
            ends.append(fixed or ((low - room, high + room) if low <= high else (0.0, 1.0)))
        self._limits.set_points(np.transpose(ends))

    def _own(self, of: A) -> A:
        """Drawn inside the panel only."""
        of.set_figure(self._figure)
        of.set_clip_box(self._box)
        return of
