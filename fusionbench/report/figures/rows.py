"""Rows of figures: which are drawn, in which order, and their names at the y axis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from fusionbench.report.figures.style import SIZE, inches, shortened
from fusionbench.report.model import Configuration, RowKey, configuration_of
from fusionbench.suites.suite import BASE


def group_of(config: Configuration) -> str:
    """The modality set, with the variant unless it is the unchanged suite."""
    return config[1] + ("" if config[2] == BASE else f" ({config[2]})")


def row_label(row: RowKey) -> str:
    """A row in one line, without its dataset."""
    return f"{row[1]} on {group_of(configuration_of(row))}"


def groups(configs: Iterable[Configuration]) -> dict[str, list[Configuration]]:
    """Configurations by modality set and variant, both in order of appearance."""
    made: dict[str, list[Configuration]] = {}
    for config in dict.fromkeys(configs):
        made.setdefault(group_of(config), []).append(config)
    return made


def alike(rows: Iterable[RowKey], score: Callable[[str], str]) -> list[list[str]]:
    """Datasets in groups, one a figure: those of a group have one score and share most of their modality sets.

    Others side by side would leave most lines of their panels empty.

    Args:
        score: dataset to what its rows are ranked by, which is on the axis.
    """
    sets: dict[str, set[str]] = {}
    for row in rows:
        sets.setdefault(row[0], set()).add(row[2])
    together: list[list[str]] = []
    for dataset, mine in sets.items():
        same = (of for of in together if score(of[0]) == score(dataset))
        home = next((of for of in same if _overlap(mine, sets[of[0]]) >= 0.5), None)
        if home is None:
            together.append([dataset])
        else:
            home.append(dataset)
    return together


def _overlap(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def widest(rows: Sequence[RowKey], inputs: Mapping[RowKey, int]) -> list[RowKey]:
    """One row of each model and variant: the one on most modalities, of equals the first."""
    best: dict[tuple[str, str], RowKey] = {}
    for row in rows:
        key = (row[1], row[3])
        if key not in best or inputs[row] > inputs[best[key]]:
            best[key] = row
    return list(best.values())


LINE = 0.18
"""Inches of a row."""

NAME = 2.9
"""Inches of the longest model name that is not shortened."""

LabelLine = tuple[str, Configuration | None]
"""Text of a line, and the row that is drawn on it; a heading has none."""


def lines_of(configs: Sequence[Configuration]) -> list[LabelLine]:
    """Lines from top to bottom: each modality set as a heading, followed by its rows."""
    lines: list[LabelLine] = []
    for group, members in groups(configs).items():
        lines.append((group, None))
        lines += [(config[0], config) for config in members]
    return lines


def label_rows(ax: Axes, lines: Sequence[LabelLine], width: float) -> None:
    """Write the text of line i at y = -i: model names as tick labels, headings from the figure's left edge on.

    Args:
        width: of all panels side by side in inches; a heading may reach over them.
    """
    names = {-i: shortened(text, NAME) for i, (text, config) in enumerate(lines) if config}
    ax.set_yticks(list(names), list(names.values()), fontsize=SIZE)
    ax.tick_params(axis="y", length=0)
    figure = ax.get_figure(root=True)
    assert figure is not None
    whole = width + max(map(inches, names.values()))
    place = blended_transform_factory(figure.dpi_scale_trans, ax.transData)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    for i, (text, config) in enumerate(lines):
        if config is None:
            # a text of the figure, not of the axes: the next panel's background would cover it
            figure.text(
                0.05, -i, shortened(text, whole, weight="bold"), transform=place, va="center", weight="bold", bbox=box
            )
