"""The look of every figure: one palette, one type size, names as they are written, the same bytes each time."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextToPath

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito 2008, without the yellow that is lost on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 2)), (0, (3, 1, 1, 1)), "--")
GREY, PALE = "#595959", "#D9D9D9"
SIZE = 8.0
"""Points of all text but titles."""

LEGEND_LINE = 0.15
KEY = 0.55
"""Inches of a legend's line, and of a column beside its text."""

RC: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": SIZE,
    "axes.titlesize": SIZE + 1,
    "axes.labelsize": SIZE,
    "xtick.labelsize": SIZE - 1,
    "ytick.labelsize": SIZE - 1,
    "legend.fontsize": SIZE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "lines.linewidth": 1.3,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "fusionbench",
    "text.parse_math": False,  # a name may hold a dollar sign
    "axes.formatter.use_mathtext": False,
}


@dataclass(frozen=True)
class Look:
    """How one name of a figure is drawn, wherever it stands."""

    colour: str
    marker: str
    line: Any = "-"


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each name; colours come round after seven, then with another marker and line."""
    rounds = [(marker, line) for marker, line in zip(MARKERS, LINES, strict=True) for _ in COLOURS]
    every = zip(cycle(COLOURS), islice(cycle(rounds), len(names)), strict=False)
    return {name: Look(colour, *of) for name, (colour, of) in zip(names, every, strict=False)}


@contextmanager
def styled() -> Iterator[None]:
    """Everything that is drawn or saved inside has the house's look, whatever the user's settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        for key, value in RC.items():
            mpl.rcParams[key] = value  # type: ignore[index]  # the stubs list every key as a literal
        yield


def shown(text: str) -> str:
    """A name on one line; characters that the font lacks are replaced by a mark that it has."""
    return "".join(c if ord(c) in _glyphs() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(findfont(FontProperties(family=RC["font.family"]))).get_charmap())


def width(text: str, size: float = SIZE, weight: str = "normal") -> float:
    """Inches that a line of text takes."""
    return measured(text, size, weight)[0] / 72


@cache
def measured(text: str, size: float, weight: str) -> tuple[float, float, float]:
    """Points that a line of text takes: its width, its height, and how much of that is below the baseline."""
    font = FontProperties(family=RC["font.family"], size=size, weight=weight)
    across, up, below = _TO_PATH.get_text_width_height_descent(text, font, ismath=False)
    return float(across), float(up), float(below)


_TO_PATH = TextToPath()


def fitted(text: str, inches: float, size: float = SIZE, weight: str = "normal") -> str:
    """A name on one line, with its middle left out where it is too wide."""
    whole = shown(text)
    if width(whole, size, weight) <= inches:
        return whole
    keep = len(whole)
    while keep > 4 and width(_elided(whole, keep), size, weight) > inches:
        keep -= 1
    return _elided(whole, keep)


def _elided(text: str, keep: int) -> str:
    return f"{text[: (keep + 1) // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - keep // 2 :]}"


def folded(text: str, inches: float, size: float = SIZE, lines: int = 3) -> str:
    """A name broken over at most `lines` lines; the last one with its middle left out where more would be needed."""
    whole = shown(text)
    for letters in range(max(8, int(inches / width("n", size) * 1.3)), 4, -1):
        parts = textwrap.wrap(whole.replace(",", ", ").replace("+", "+ "), letters) or [""]
        parts = [part.replace(", ", ",").replace("+ ", "+") for part in parts]
        if all(width(part, size) <= inches for part in parts):
            break
    if len(parts) > lines:
        parts = [*parts[: lines - 1], fitted("".join(parts[lines - 1 :]), inches, size)]
    return "\n".join(parts)


def handle(look: Look, label: str, *, filled: bool = True, line: bool = False) -> Line2D:
    """A legend's entry."""
    face = look.colour if filled else "white"
    style: Any = look.line if line else "none"
    return Line2D(
        [], [], color=look.colour, marker=look.marker, linestyle=style, markerfacecolor=face, markersize=5, label=label
    )


def legend_columns(labels: Sequence[str], inches: float) -> int:
    """How many columns of a legend fit."""
    widest = max((width(label) for label in labels), default=0.0) + KEY
    return max(1, min(len(labels), int(inches / widest)))


def legend_height(labels: Sequence[str], inches: float) -> float:
    """Inches that `legend` takes."""
    return -(-len(labels) // legend_columns(labels, inches)) * LEGEND_LINE + 0.15 if labels else 0.0


def legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Below everything; as many columns as fit. matplotlib's own lays itself out at every drawing."""
    across, up = (float(inches) for inches in figure.get_size_inches())
    labels = [str(h.get_label()) for h in handles]
    lines = -(-len(labels) // legend_columns(labels, across))
    columns = -(-len(labels) // lines)
    wide = [max(width(label) for label in labels[i * lines : (i + 1) * lines]) + KEY for i in range(columns)]
    starts = np.cumsum([0.0, *wide]) + (across - sum(wide)) / 2
    for i, (of, label) in enumerate(zip(handles, labels, strict=True)):
        x, y = starts[i // lines] / across, (LEGEND_LINE * (lines - i % lines - 0.5) + 0.03) / up
        dash, text = 0.25 / across, 0.31 / across
        of.set_data([x, x + dash / 2, x + dash], [y, y, y])
        of.set_markevery([1])
        of.set_transform(figure.transFigure)
        figure.add_artist(of)
        figure.text(x + text, y, label, va="center_baseline")
