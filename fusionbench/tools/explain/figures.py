"""Drawings of one explanation, in the look of the reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fusionbench.report.figures.figure import Drawn, LeftOut, Picture, numbered
from fusionbench.report.figures.frame import Side, frame, round_ticks
from fusionbench.report.figures.panels import Room, panels
from fusionbench.report.figures.style import COLOURS, GREY, Look, fitted, handle, legend, looks, styled
from fusionbench.tools.explain.explanation import Explanation, Part
from fusionbench.tools.explain.heatmaps import heatmaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LINES = 8
"""Items whose way through the layers is drawn."""
NAME = 2.2
"""Inches of an item's name."""


def figures(explanation: Explanation) -> Iterator[Picture]:
    """Heatmaps, items, layers and curves, or why one of them is not there."""
    with styled():
        made = [*heatmaps(explanation), *_items(explanation), *_layers(explanation), *_curves(explanation)]
    yield from made


def _items(explanation: Explanation) -> Iterator[Picture]:
    named = [part for part in explanation.parts if part.occlusion.items.names]
    for i, part in enumerate(named):
        seen, most = ("attention and ", "attention") if part.look is not None else ("", "change")
        alt = f"Bars of {seen}the change of the risk for the first {len(part.top)} items of {part.name}."
        caption = (
            f"The {len(part.top)} of {part.occlusion.items.count} with the most {most}. Change of the risk: with the "
            "training mean in their place minus as it is; below 0 what this case has there raises the risk."
        )
        yield Drawn(numbered("items", i, len(named)), f"Features of {part.name}", caption, alt, _bars(part))


def _bars(part: Part) -> Figure:
    top = part.top
    columns: list[tuple[str, Floats, str]] = []
    if part.look is not None:
        columns.append(("attention", part.look.mean[top], COLOURS[0]))
    columns.append(("change of the risk", part.occlusion.by_item[top], COLOURS[1]))
    room = Room(2.0, 0.17 * len(top) + 0.1, left=0.2, margin=NAME + 0.1, below=0.5)
    figure, axes = panels([title for title, *_ in columns], room, most=2)
    for ax, (title, values, colour) in zip(axes, columns, strict=True):
        known = np.nan_to_num(values)
        for i, length in enumerate(known):
            ax.bar(i, float(length), colour)
        low, high = min(0.0, float(known.min())), max(0.0, float(known.max()))
        beyond = 0.05 * (high - low) or 0.1
        ax.limit(x=(low - (beyond if low else 0), high + (beyond if high or not low else 0)), y=(len(top) - 0.4, -0.6))
        ax.line([0, 0], [-0.6, len(top) - 0.4], color=GREY, linewidth=0.7)
        frame(ax, Side(title, round_ticks(*ax.limits()[0], most=3), grid=False), None)
    for i, item in enumerate(top):
        text = fitted(part.item_names[item], NAME)
        axes[0].text(-0.08, i, text, axes[0].beside, ha="right", va="center")
    return figure


def _layers(explanation: Explanation) -> Iterator[Picture]:
    deep = [(part, part.look) for part in explanation.parts if part.look is not None and len(part.look.trained) > 1]
    if not deep:
        why = "attention has one layer" if explanation.attends else "there is no attention"
        yield LeftOut("Layer by layer", why)
        return
    caption = (
        f"Above: the {LINES} items with the most attention, averaged over heads, where 1 is an even share. Below: the "
        "distance (total variation, 0 to 1) from the same network before training; dotted, of two such starts."
    )
    alt = f"Lines over layers for {', '.join(part.name for part, _ in deep)}."
    titles = [part.name for part, _ in deep] + [f"{part.name}: distance from the start" for part, _ in deep]
    keys = [_key(part, several=len(deep) > 1) for part, _ in deep]
    labels = [str(key.get_label()) for of_part in keys for key in of_part]
    figure, axes = panels(titles, Room(2.2, 1.5, left=0.6), most=len(deep), labels=labels)
    for i, (part, look) in enumerate(deep):
        x, of_items, of_start = np.arange(1, len(look.trained) + 1), axes[i], axes[len(deep) + i]
        top = part.top[:LINES]
        for item, style in zip(top, looks([part.item_names[item] for item in top]).values(), strict=True):
            share = look.trained[:, item] * look.trained.shape[1]
            of_items.line(x, share, color=style.colour, linestyle=style.line, marker=style.marker, markersize=3)
        of_start.line(x, look.moved, color=COLOURS[0], marker="o", markersize=3)
        of_start.line(x, look.starts_apart, color=GREY, linestyle=(0, (1, 1.5)))
        of_start.limit(y=(0, 1.15 * max(look.moved.max(), look.starts_apart.max(), 0.02)))
        for ax, label in ((of_items, "attention"), (of_start, "total variation")):
            frame(ax, Side("layer", integer=True), Side(label))
    legend(figure, [key for of_part in keys for key in of_part])
    yield Drawn("layers", "Layer by layer", caption, alt, figure)


def _key(part: Part, *, several: bool) -> list[Line2D]:
    """What stands for each of the items that are drawn."""
    top = [part.item_names[item] for item in part.top[:LINES]]
    names = [fitted(f"{part.name}: {name}" if several else name, NAME) for name in top]
    return [handle(look, name, line=True) for look, name in zip(looks(top).values(), names, strict=True)]


MARKS = (Look(COLOURS[0], "o"), Look(COLOURS[4], "s"), Look(GREY, "^"))
WAYS = dict(zip(("most attention first", "any order", "least first"), MARKS, strict=True))


def _curves(explanation: Explanation) -> Iterator[Picture]:
    curved = [part for part in explanation.parts if part.occlusion.curve is not None]
    if not curved:
        yield LeftOut("Does the attention matter?", "there is no attention whose order could be tried")
        return
    caption = (
        "The risk's absolute change when k items are left out: those with the most attention, any k (mean and range of "
        "random orders), those with the least. Attention that matters runs above any order."
    )
    alt = f"Curves of the absolute change of the risk over k for {', '.join(part.name for part in curved)}."
    yield Drawn("agreement", "Does the attention matter?", caption, alt, _curve_figure(curved))


def _curve_figure(parts: Sequence[Part]) -> Figure:
    figure, axes = panels([part.name for part in parts], Room(2.4, 1.7, left=0.65), most=3, labels=list(WAYS), log=True)
    for part, ax in zip(parts, axes, strict=True):
        curve = part.occlusion.curve
        assert curve is not None
        ax.area(curve.k, curve.random.min(axis=0), curve.random.max(axis=0), colour=COLOURS[4], alpha=0.2)
        for values, look in zip((curve.top, curve.random.mean(axis=0), curve.bottom), WAYS.values(), strict=True):
            ax.line(curve.k, values, color=look.colour, marker=look.marker, markersize=3)
        some = [int(k) for k in curve.k[::2]]
        frame(ax, Side("k left out", some), Side("|change of the risk|"))
    legend(figure, [handle(look, label, line=True) for label, look in WAYS.items()])
    return figure
