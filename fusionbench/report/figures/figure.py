"""What a figure is before any file: a drawing with its words, or a line that says why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from fusionbench.report.analysis import Analysis


@dataclass(frozen=True)
class Drawn:
    """A drawing.

    Attributes:
        name: of its files, without ending; letters, digits and dashes.
        title: one line.
        caption: how to read it: what a mark is, what the interval covers.
        alt: what it shows, for those who cannot see it.
        colours: of its PNG; drawings need few.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure
    colours: int = 64


@dataclass(frozen=True)
class LeftOut:
    """A figure that makes no sense for these results, and why."""

    title: str
    reason: str


Picture = Drawn | LeftOut

Maker = Callable[[Analysis, Mapping[str, Any]], Iterator[Picture]]
"""From stored results and the run's lock; yields at least one picture or reason."""


def numbered(name: str, i: int, n: int) -> str:
    """File names of several figures of one kind: names of datasets may hold anything, numbers do not."""
    return name if n == 1 else f"{name}-{i + 1}"
