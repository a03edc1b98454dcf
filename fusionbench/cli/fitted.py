"""Tables in the width of a terminal: one line a row, cells cut with an ellipsis, nothing wrapped."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.text import Text

GAP = 2
"""Blanks between two columns."""


def column_widths(columns: Sequence[Sequence[str]], width: int, fixed: Collection[int] = ()) -> list[int]:
    """The width of each column, so that a line needs at most `width` where that can be done.

    Args:
        columns: the cells of each, with its header.
        fixed: positions of columns that are not cut. The widest of the others is cut first.
    """
    widths = [max((Text(cell).cell_len for cell in column), default=0) for column in columns]
    excess = sum(widths) + GAP * (len(widths) - 1) - width
    for _ in range(excess):
        widest = max((i for i in range(len(widths)) if i not in fixed), key=widths.__getitem__, default=None)
        if widest is None or widths[widest] <= 1:
            break
        widths[widest] -= 1
    return widths


def fitted_lines(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    fixed: Collection[int] = (),
    right: Collection[int] = (),
    styles: Sequence[str] = (),
) -> list[Text]:
    """Header and rows as lines.

    Args:
        width: of the terminal.
        fixed: positions of columns that are not cut; right: of those that are aligned right.
        styles: rich's style of each row.
    """
    widths = column_widths(list(zip(headers, *rows, strict=True)), width, fixed)
    lines = []
    for row, style in zip([headers, *rows], ["dim", *(styles or [""] * len(rows))], strict=True):
        cells = [Text(" ".join(cell.split()), style) for cell in row]
        for i, cell in enumerate(cells):
            cell.truncate(widths[i], overflow="ellipsis")
            cell.align("right" if i in right else "left", widths[i])
        line = Text(" " * GAP).join(cells)
        line.rstrip()
        lines.append(line)
    return lines
