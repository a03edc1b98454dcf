"""What a report shows as a figure: a drawing with its texts, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusionbench.report.analysis import Analysis


@dataclass(frozen=True)
class Mark:
    """A mark of a drawing whose values a page shows.

    Attributes:
        x, y: in the units of the axes.
        text: what the mark stands for, with its values.
    """

    axes: Axes
    x: float
    y: float
    text: str


@dataclass(frozen=True)
class ReportFigure:
    """A figure of a report with its texts, before it is written to files.

    Attributes:
        name: of its files, without ending; letters, digits and dashes.
        title: one line.
        caption: how to read it: what a mark is, what the interval covers.
        alt: what it shows, for those who cannot see it.
        figure: laid out, with a fixed layout.
        colours: in the palette of its PNG; line drawings need few.
        marks: whose values are shown under a pointer.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure
    colours: int = 64
    marks: Sequence[Mark] = ()


@dataclass(frozen=True)
class Omitted:
    """A figure that these results cannot fill, and why."""

    title: str
    reason: str


FigureOrOmitted = ReportFigure | Omitted

Maker = Callable[[Analysis, Mapping[str, Any]], Iterator[FigureOrOmitted]]
"""From stored results and the run's lock; yields at least one figure or reason."""


def numbered(name: str, i: int, n: int) -> str:
    """File name of the i-th of n figures of one kind; a number, since names of datasets may hold any character."""
    return name if n == 1 else f"{name}-{i + 1}"
