"""Drawings of one explanation, in the look of the reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from fusionbench.report.figures.figure import FigureOrOmitted, Omitted, ReportFigure, numbered
from fusionbench.report.figures.panels import lay_out, logarithmic, panels
from fusionbench.report.figures.style import COLOURS, GREY, Style, legend_handle, report_style, shortened, styles
from fusionbench.tools.explain.explanation import Explanation, Part
from fusionbench.tools.explain.heatmaps import heatmaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LINES = 8
"""Items whose way through the layers is drawn."""
NAME = 2.2
"""Inches of an item's name."""


def figures(explanation: Explanation) -> Iterator[FigureOrOmitted]:
    """Heatmaps, items, layers and curves, or why one of them is not there."""
    with report_style():
        made = [*heatmaps(explanation), *_items(explanation), *_layers(explanation), *_curves(explanation)]
    yield from made


def _items(explanation: Explanation) -> Iterator[FigureOrOmitted]:
    named = [part for part in explanation.parts if part.occlusion.items.names]
    for i, part in enumerate(named):
        seen, most = ("attention and ", "attention") if part.look is not None else ("", "change")
        alt = f"Bars of {seen}the change of the risk for the first {len(part.top)} items of {part.name}."
        caption = (
            f"The {len(part.top)} of {part.occlusion.items.count} with the most {most}. Change of the risk: with the "
            "training mean in their place minus as it is; below 0 what this case has there raises the risk."
        )
        yield ReportFigure(numbered("items", i, len(named)), f"Features of {part.name}", caption, alt, _bars(part))


def _bars(part: Part) -> Figure:
    top = part.top
    columns: list[tuple[str, Floats, str]] = []
    if part.look is not None:
        columns.append(("attention", part.look.mean[top], COLOURS[0]))
    columns.append(("change of the risk", part.occlusion.by_item[top], COLOURS[1]))
    size = (2.0, 0.17 * len(top) + 0.1)
    figure, axes = panels([title for title, *_ in columns], size, most=2, share_y=True)
    for ax, (title, values, colour) in zip(axes, columns, strict=True):
        lengths = np.nan_to_num(values)
        ax.barh(range(len(top)), lengths, 0.7, color=colour)
        ax.axvline(0, color=GREY, linewidth=0.7)
        if not lengths.any():
            ax.set_xlim(0, 0.1)
        ax.set(ylim=(len(top) - 0.4, -0.6), xlabel=title)
        ax.grid(visible=False)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        ax.xaxis.set_major_locator(MaxNLocator(3))
    axes[0].set_yticks(range(len(top)), [shortened(part.item_names[item], NAME) for item in top])
    lay_out(figure, size)
    return figure


def _layers(explanation: Explanation) -> Iterator[FigureOrOmitted]:
    deep = [(part, part.look) for part in explanation.parts if part.look is not None and len(part.look.trained) > 1]
    if not deep:
        why = "attention has one layer" if explanation.attends else "there is no attention"
        yield Omitted("Layer by layer", why)
        return
    caption = (
        f"Above: the {LINES} items with the most attention, averaged over heads, where 1 is an even share. Below: the "
        "distance (total variation, 0 to 1) from the same network before training; dotted, of two such starts."
    )
    alt = f"Lines over layers for {', '.join(part.name for part, _ in deep)}."
    titles = [part.name for part, _ in deep] + [f"{part.name}: distance from the start" for part, _ in deep]
    size = (2.2, 1.5)
    figure, axes = panels(titles, size, most=len(deep))
    for i, (part, look) in enumerate(deep):
        x, of_items, of_start = np.arange(1, len(look.trained) + 1), axes[i], axes[len(deep) + i]
        top = part.top[:LINES]
        for item, style in zip(top, styles([part.item_names[item] for item in top]).values(), strict=True):
            share = look.trained[:, item] * look.trained.shape[1]
            of_items.plot(x, share, color=style.colour, linestyle=style.line, marker=style.marker, markersize=3)
        of_start.plot(x, look.moved, color=COLOURS[0], marker="o", markersize=3)
        of_start.plot(x, look.starts_apart, color=GREY, linestyle=(0, (1, 1.5)))
        of_start.set_ylim(0, 1.15 * max(look.moved.max(), look.starts_apart.max(), 0.02))
        for ax, label in ((of_items, "attention"), (of_start, "total variation")):
            ax.set(xlabel="layer", ylabel=label)
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    lay_out(figure, size, [handle for part, _ in deep for handle in _handles(part, several=len(deep) > 1)])
    yield ReportFigure("layers", "Layer by layer", caption, alt, figure)


def _handles(part: Part, *, several: bool) -> list[Line2D]:
    """Legend entries of the items that are drawn, with the part's name where there are several parts."""
    top = [part.item_names[item] for item in part.top[:LINES]]
    names = [shortened(f"{part.name}: {name}" if several else name, NAME) for name in top]
    return [legend_handle(style, name, line=True) for style, name in zip(styles(top).values(), names, strict=True)]


MARKS = (Style(COLOURS[0], "o"), Style(COLOURS[4], "s"), Style(GREY, "^"))
WAYS = dict(zip(("most attention first", "any order", "least first"), MARKS, strict=True))


def _curves(explanation: Explanation) -> Iterator[FigureOrOmitted]:
    curved = [part for part in explanation.parts if part.occlusion.curve is not None]
    if not curved:
        yield Omitted("Does the attention matter?", "there is no attention whose order could be tried")
        return
    caption = (
        "The risk's absolute change when k items are left out: those with the most attention, any k (mean and range of "
        "random orders), those with the least. Attention that matters runs above any order."
    )
    alt = f"Curves of the absolute change of the risk over k for {', '.join(part.name for part in curved)}."
    yield ReportFigure("agreement", "Does the attention matter?", caption, alt, _curve_figure(curved))


def _curve_figure(parts: Sequence[Part]) -> Figure:
    size = (2.4, 1.7)
    figure, axes = panels([part.name for part in parts], size, most=3)
    for part, ax in zip(parts, axes, strict=True):
        curve = part.occlusion.curve
        assert curve is not None
        low, high = curve.random.min(axis=0), curve.random.max(axis=0)
        ax.fill_between(curve.k, low, high, color=COLOURS[4], alpha=0.2, linewidth=0)
        for values, style in zip((curve.top, curve.random.mean(axis=0), curve.bottom), WAYS.values(), strict=True):
            ax.plot(curve.k, values, color=style.colour, marker=style.marker, markersize=3)
        ax.set(xlabel="k left out", ylabel="|change of the risk|")
        logarithmic(ax)
        ax.xaxis.set_major_locator(FixedLocator([int(k) for k in curve.k[::2]]))
    lay_out(figure, size, [legend_handle(style, label, line=True) for label, style in WAYS.items()])
    return figure
