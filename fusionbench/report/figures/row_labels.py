"""Names of rows at a figure's y axis: modality sets as headings, models below them."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from fusionbench.report.figures.rows import groups
from fusionbench.report.figures.style import SIZE, inches, shortened
from fusionbench.report.model import Configuration

LINE = 0.18
"""Inches of a row."""

NAME = 2.9
"""Inches of the longest model name that is not shortened."""

RowPattern = tuple[str, Configuration | None]
"""Text of a line, and the row that stands on it; a heading has none."""


def lines_of(kinds: Sequence[Configuration]) -> list[RowPattern]:
    """Lines from top to bottom: each modality set as a heading, followed by its rows."""
    lines: list[RowPattern] = []
    for group, members in groups(kinds).items():
        lines.append((group, None))
        lines += [(kind[0], kind) for kind in members]
    return lines


def label_rows(ax: Axes, lines: Sequence[RowPattern], width: float) -> None:
    """Write the text of line i at y = -i: model names as tick labels, headings from the figure's left edge on.

    Args:
        width: of all panels side by side in inches; a heading may reach over them.
    """
    names = {-i: shortened(text, NAME) for i, (text, kind) in enumerate(lines) if kind}
    ax.set_yticks(list(names), list(names.values()), fontsize=SIZE)
    ax.tick_params(axis="y", length=0)
    figure = ax.get_figure(root=True)
    assert figure is not None
    whole = width + max(map(inches, names.values()))
    place = blended_transform_factory(figure.dpi_scale_trans, ax.transData)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    for i, (text, kind) in enumerate(lines):
        if kind is None:
            # a text of the figure, not of the axes: the next panel's background would cover it
            figure.text(
                0.05, -i, shortened(text, whole, weight="bold"), transform=place, va="center", weight="bold", bbox=box
            )
