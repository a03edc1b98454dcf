"""Figures of one explanation, in the style of the reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from fusionbench.report.figures.figure import FigureOrOmitted, Omitted, ReportFigure, numbered
from fusionbench.report.figures.panels import lay_out, logarithmic, panels
from fusionbench.report.figures.style import COLOURS, GREY, Style, legend_handle, report_style, shortened, styles
from fusionbench.tools.explain.explanation import Explanation, ModalityExplanation
from fusionbench.tools.explain.heatmaps import RISK_COLOURS, heatmaps
from fusionbench.tools.explain.maps import map_figures
from fusionbench.tools.explain.occlusion import Curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusionbench.tools.explain.attention import ItemAttention

    Floats = NDArray[np.float64]

LAYER_LINES = 8
"""Items whose attention is drawn over the layers."""
NAME_WIDTH = 2.2
"""Inches of an item's name, at most."""
CURVE_STYLES = {
    "most attention first": Style(COLOURS[0], "o"),
    "random order": Style(COLOURS[4], "s"),
    "least attention first": Style(GREY, "^"),
}
"""Order in which items are masked to the style of its curve."""


def figures(explanation: Explanation) -> Iterator[FigureOrOmitted]:
    """Heatmaps, bars of features, attention by layer, curves, for each that is missing the reason; and maps."""
    with report_style():  # drawn to the end inside, since the style holds only until the block is left
        drawn = [*heatmaps(explanation), *_features(explanation), *_layers(explanation), *_curves(explanation)]
        drawn += map_figures(explanation.maps)
    yield from drawn


def _features(explanation: Explanation) -> Iterator[FigureOrOmitted]:
    """Bars of the top columns or groups of each modality whose items have names."""
    named = [modality for modality in explanation.modalities if modality.occlusion.items.names]
    for i, modality in enumerate(named):
        has_attention, top, count = modality.attention is not None, len(modality.top), modality.occlusion.items.count
        score = modality.score
        alt = f"Bars of {'attention and ' if has_attention else ''}contribution for {top} features of {modality.name}."
        caption = (
            f"The {top} of {count} with the largest {'attention' if has_attention else 'contribution'}. Contribution: "
            f"the {score.name} with the case's own value minus the {score.name} with the training mean in its place. "
            f"Above 0, red: the value raises the predicted {score.name}; below 0, blue: it lowers {score.pronoun}."
        )
        name = numbered("items", i, len(named))
        yield ReportFigure(name, f"Features of {modality.name}", caption, alt, _bars(modality))


def _bars(modality: ModalityExplanation) -> Figure:
    top = modality.top
    contributions = np.nan_to_num(modality.occlusion.by_item[top])
    # Not the outermost colours, which are nearly black.
    colours = colormaps[RISK_COLOURS](np.where(contributions > 0, 0.85, 0.15))
    what = modality.score.key.replace("_", " ")
    unit = f"{what} with - {what} without"
    columns: list[tuple[str, str, Floats, Any]] = [("contribution", unit, contributions, colours)]
    if modality.attention is not None:
        columns.insert(
            0, ("attention", "1 = even share", modality.attention.relative[top], GREY)
        )  # neither red nor blue
    size = (2.0, 0.17 * len(top) + 0.1)
    figure, axes = panels([title for title, *_ in columns], size, most=2, share_y=True)
    for ax, (_, unit, lengths, colour) in zip(axes, columns, strict=True):
        ax.barh(range(len(top)), lengths, 0.7, color=colour)
        ax.axvline(0, color=GREY, linewidth=0.7)
        if not lengths.any():  # an axis from 0 to 0 has no ticks
            ax.set_xlim(0, 0.1)
        ax.set(ylim=(len(top) - 0.4, -0.6), xlabel=unit)  # the first at the top
        ax.grid(visible=False)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        ax.xaxis.set_major_locator(MaxNLocator(3))
    axes[0].set_yticks(range(len(top)), [shortened(modality.item_names[item], NAME_WIDTH) for item in top])
    lay_out(figure, size)
    return figure


def _layers(explanation: Explanation) -> Iterator[FigureOrOmitted]:
    """Attention of the top items over layers, and below its distance from the initial attention."""
    pairs = [(m, m.attention) for m in explanation.modalities if m.attention is not None]
    deep = [(modality, attention) for modality, attention in pairs if len(attention.trained) > 1]
    if not deep:
        yield Omitted("Attention by layer", "one layer only" if explanation.has_attention else "there is no attention")
        return
    names = [modality.name for modality, _ in deep]
    caption = (
        f"Above: attention of the {LAYER_LINES} items with the most attention, mean over heads; 1 is an even share. "
        "Below: distance (total variation, 0 to 1) between the trained model's attention and that of the same network "
        "before training; dotted: between untrained networks with different seeds."
    )
    alt = f"Lines over layers for {', '.join(names)}."
    size = (2.2, 1.5)
    figure, axes = panels(names + [f"{name}: distance from initial" for name in names], size, most=len(deep))
    for (modality, attention), above, below in zip(deep, axes, axes[len(deep) :], strict=False):
        _draw_items(above, modality, attention)
        _draw_distances(below, attention)
    for ax in axes:
        ax.set_xlabel("layer")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    lay_out(figure, size, [handle for m, _ in deep for handle in _handles(m, several=len(deep) > 1)])
    yield ReportFigure("layers", "Attention by layer", caption, alt, figure)


def _draw_items(ax: Axes, modality: ModalityExplanation, attention: ItemAttention) -> None:
    layers, items = attention.trained.shape
    x, top = range(1, layers + 1), modality.top[:LAYER_LINES]
    for item, style in zip(top, styles([modality.item_names[item] for item in top]).values(), strict=True):
        share = attention.trained[:, item] * items
        ax.plot(x, share, color=style.colour, linestyle=style.line, marker=style.marker, markersize=3)
    ax.set_ylabel("attention")


def _draw_distances(ax: Axes, attention: ItemAttention) -> None:
    distance, between_seeds = attention.distance_from_initial, attention.distance_between_seeds
    x = range(1, len(distance) + 1)
    ax.plot(x, distance, color=COLOURS[0], marker="o", markersize=3)
    ax.plot(x, between_seeds, color=GREY, linestyle=(0, (1, 1.5)))
    ax.set(ylim=(0, 1.15 * max(distance.max(), between_seeds.max(), 0.02)), ylabel="total variation")


def _handles(modality: ModalityExplanation, *, several: bool) -> list[Line2D]:
    """Legend entries of the drawn items, with the modality's name where several modalities are drawn."""
    top = [modality.item_names[item] for item in modality.top[:LAYER_LINES]]
    names = [shortened(f"{modality.name}: {name}" if several else name, NAME_WIDTH) for name in top]
    return [legend_handle(style, name, line=True) for style, name in zip(styles(top).values(), names, strict=True)]


def _curves(explanation: Explanation) -> Iterator[FigureOrOmitted]:
    """The change of the score over the number of masked items, for each modality with attention."""
    score = explanation.selected.score.name
    title = f"Does attention find what matters to the {score}?"
    curved = [(m.name, m.occlusion.curve) for m in explanation.modalities if m.occlusion.curve is not None]
    if not curved:
        yield Omitted(title, "there is no attention to rank the items by")
        return
    caption = (
        f"Absolute change of the {score} when k items are removed together (features: set to their training mean): "
        "those with the most attention, random ones (mean and range over random orders), those with the least. "
        "Attention that finds what matters lies above the random order."
    )
    alt = f"Curves of the absolute change of the {score} over k for {', '.join(name for name, _ in curved)}."
    yield ReportFigure("agreement", title, caption, alt, _curve_figure(curved, score))


def _curve_figure(curved: Sequence[tuple[str, Curve]], score: str) -> Figure:
    size = (2.4, 1.7)
    figure, axes = panels([name for name, _ in curved], size, most=3)
    for (_, curve), ax in zip(curved, axes, strict=True):
        low, high = curve.random.min(axis=0), curve.random.max(axis=0)
        ax.fill_between(curve.k, low, high, color=COLOURS[4], alpha=0.2, linewidth=0)
        lines = (curve.top, curve.random.mean(axis=0), curve.bottom)
        for values, style in zip(lines, CURVE_STYLES.values(), strict=True):
            ax.plot(curve.k, values, color=style.colour, marker=style.marker, markersize=3)
        ax.set(xlabel="k removed items", ylabel=f"|change of the {shortened(score, NAME_WIDTH)}|")
        logarithmic(ax)
        ax.xaxis.set_major_locator(FixedLocator([int(k) for k in curve.k[::2]]))
    lay_out(figure, size, [legend_handle(style, label, line=True) for label, style in CURVE_STYLES.items()])
    return figure
