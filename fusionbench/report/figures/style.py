"""The style of every figure: colours, markers, matplotlib settings, and how names are shortened and wrapped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from typing import Any

import matplotlib as mpl
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito 2008, without the yellow that is lost on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 2)), (0, (3, 1, 1, 1)), "--")
DASHED: Any = (0, (4, 2))
GREY, PALE = "#595959", "#D9D9D9"
SIZE = 8.0
"""Font size of all text but titles, in points."""
TITLE_SIZE = SIZE + 1
"""Font size of the titles of panels, in points."""

RC: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": SIZE,
    "axes.titlesize": TITLE_SIZE,
    "axes.titlelocation": "left",
    "axes.labelsize": SIZE,
    "xtick.labelsize": SIZE - 1,
    "ytick.labelsize": SIZE - 1,
    "legend.fontsize": SIZE,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.5,
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
    "axes.formatter.useoffset": False,
}


@dataclass(frozen=True)
class Style:
    """Colour, marker and line style of one series; an empty marker draws none."""

    colour: str
    marker: str
    line: Any = "-"


def styles(names: Sequence[str]) -> dict[str, Style]:
    """A style for each name; colours repeat after seven, then with another marker and line."""
    rounds = [(marker, line) for marker, line in zip(MARKERS, LINES, strict=True) for _ in COLOURS]
    combinations = zip(cycle(COLOURS), islice(cycle(rounds), len(names)), strict=False)
    return {name: Style(colour, *rest) for name, (colour, rest) in zip(names, combinations, strict=False)}


@contextmanager
def report_style() -> Iterator[None]:
    """matplotlib settings of the reports, whatever the user's own are, while the block runs."""
    with mpl.rc_context():
        mpl.rcdefaults()
        for key, value in RC.items():
            mpl.rcParams[key] = value  # type: ignore[index]  # the stubs list every key as a literal
        yield


def displayable(text: str) -> str:
    """The text on one line; characters that the font lacks are replaced by U+FFFD, which it has."""
    return "".join(c if ord(c) in _glyphs() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(FT2Font(findfont(FontProperties(family=RC["font.family"]))).get_charmap())


@cache
def inches(text: str, size: float = SIZE, weight: str = "normal") -> float:
    """Width of a line of text in inches.

    Args:
        size: of the font in points.
    """
    font = FontProperties(family=RC["font.family"], size=size, weight=weight)
    points, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(points) / 72


def shortened(text: str, width: float, size: float = SIZE, weight: str = "normal") -> str:
    """The text on one line of at most `width` inches; the middle of a longer one becomes an ellipsis."""
    whole = displayable(text)
    if inches(whole, size, weight) <= width:
        return whole
    forms = (
        f"{whole[: (n + 1) // 2]}\N{HORIZONTAL ELLIPSIS}{whole[len(whole) - n // 2 :]}"
        for n in range(len(whole), 0, -1)
    )
    return next((form for form in forms if inches(form, size, weight) <= width), "\N{HORIZONTAL ELLIPSIS}")


def wrapped(text: str, width: float, lines: int = 3) -> str:
    """The title of a panel on at most `lines` lines of at most `width` inches; the last line is shortened to fit.

    Lines end after a space; those of a longer word also between options and modalities, or after a hyphen, an
    underscore or an equals sign.
    """
    made = [""]
    for part in _parts(displayable(text), width):
        if made[-1] and inches((made[-1] + part).rstrip(), TITLE_SIZE) > width:
            made.append("")
        made[-1] += part
    if len(made) > lines:
        made = [*made[: lines - 1], "".join(made[lines - 1 :])]
    return "\n".join(shortened(line, width, TITLE_SIZE) for line in made)


BREAKS = (r"(?<= )", r"(?<=[,+])|(?=\[)", r"(?<=[-_=])")
"""Where a line of a title may end, the best places first."""


def _parts(text: str, width: float, breaks: Sequence[str] = BREAKS) -> Iterator[str]:
    """The text in pieces of at most `width` inches, as far as its breaks allow; finer breaks only where needed."""
    best, *finer = breaks
    for part in re.split(best, text):
        if finer and inches(part.rstrip(), TITLE_SIZE) > width:
            yield from _parts(part, width, finer)
        else:
            yield part


def legend_handle(style: Style, label: str, *, filled: bool = True, line: bool = False) -> Line2D:
    """A legend entry: a marker, with `line` on a stretch of the series' line."""
    face = style.colour if filled else "white"
    shown: Any = style.line if line else "none"
    return Line2D(
        *([], []),
        color=style.colour,
        marker=style.marker,
        linestyle=shown,
        markerfacecolor=face,
        markersize=5,
        label=label,
    )
