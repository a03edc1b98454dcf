"""Panels laid out in inches, so that what must not overlap has room that was reckoned before it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox, ScaledTranslation

from fusionbench.report.figures.panel import Panel
from fusionbench.report.figures.style import SIZE, folded, legend_height

TITLE = SIZE + 1
XLABEL = 0.25
"""Inches from a panel to the top of its label."""

TITLE_LINE = 0.16
"""Inches of a line of a panel's title."""


@dataclass(frozen=True)
class Room:
    """Inches of a panel and what it needs around it.

    Attributes:
        left: for names or tick labels; below: for tick labels, an axis label and what stands under it.
        margin: left of all panels, once a line of them.
    """

    width: float
    height: float
    left: float = 0.5
    below: float = 0.45
    right: float = 0.15
    margin: float = 0.1


def balanced(n: int, most: int) -> int:
    """Columns of a grid of `n` panels, at most `most`, so that its lines are about equally long."""
    return -(-n // -(-n // most))


def panels(
    titles: Sequence[str], room: Room, *, most: int, labels: Sequence[str] = (), log: bool = False
) -> tuple[Figure, list[Panel]]:
    """A figure with a titled panel for each name, in reading order.

    Args:
        most: panels side by side.
        labels: of the legend that will stand below.
        log: x is on a logarithmic scale.
    """
    columns = balanced(len(titles), most)
    lines = -(-len(titles) // columns)
    shown = [folded(title, room.width + room.right - 0.05, TITLE) for title in titles]
    head = max(text.count("\n") + 1 for text in shown) * TITLE_LINE + 0.16
    across = room.margin + columns * (room.left + room.width + room.right)
    line = head + room.height + room.below
    foot = legend_height(labels, across) + 0.05
    figure = Figure(figsize=(across, lines * line + foot))
    made = []
    for i, title in enumerate(shown):
        x = room.margin + (i % columns) * (room.left + room.width + room.right) + room.left
        y = foot + (lines - 1 - i // columns) * line + room.below
        tall = float(figure.get_figheight())
        place = Bbox.from_bounds(x / across, y / tall, room.width / across, room.height / tall)
        panel = Panel(figure, place, log=log)
        panel.labels = ((0.5, -XLABEL / room.height), (-(room.left - 0.1) / room.width, 0.5))
        raised = ScaledTranslation(0, 5 / 72, figure.dpi_scale_trans)
        panel.text(0, 1, title, panel.within + raised, fontsize=TITLE)
        made.append(panel)
    return figure, made
