"""Names of rows beside a panel: modality sets as headings, models below them."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.transforms import Transform

from fusionbench.report.figures.rows import Kind, groups
from fusionbench.report.figures.style import fitted, shown, width

LINE = 0.18
"""Inches of a row."""

NAMES = 2.9
"""Inches of the longest name that is not shortened."""

Line = tuple[str, Kind | None]
"""Its text, and the kind of row; a heading has none."""


def lines_of(kinds: Sequence[Kind]) -> list[Line]:
    """From top to bottom."""
    made: list[Line] = []
    for group, members in groups(kinds).items():
        made.append((group, None))
        made += [(kind[0], kind) for kind in members]
    return made


def room_for(lines: Sequence[Line]) -> float:
    """Inches that the names take."""
    return min(NAMES, max((width(shown(name)) for name, kind in lines if kind), default=0.5)) + 0.15


def write_names(
    figure: Figure, lines: Sequence[Line], inches: float, panel: float, over: float, beside: Transform
) -> None:
    """Names end at the panel, line i at y = -i; a heading begins at the figure's edge and may reach over the panels.

    Args:
        inches: that names may take.
        panel: width of the panel; over: how far a heading may reach beyond its left edge. Inches.
        beside: of fractions of the panel to the right, and lines upwards.
    """
    for i, (text, kind) in enumerate(lines):
        if kind:
            figure.text(-0.1 / panel, -i, fitted(text, inches), ha="right", va="center", transform=beside)
        else:
            whole = fitted(text, inches + over, weight="bold")
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            place = (-(inches + 0.1) / panel, -i, whole)
            figure.text(*place, ha="left", va="center", weight="bold", transform=beside, bbox=box, zorder=5)
