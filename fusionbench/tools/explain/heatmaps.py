"""Attention and contributions to the risk as colours of the squares where instances lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from fusionbench.report.figures.figure import FigureOrOmitted, Omitted, ReportFigure, numbered
from fusionbench.report.figures.panels import lay_out, panels
from fusionbench.tools.explain.explanation import Explanation, Part
from fusionbench.tools.explain.tiles import Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LONG = 3.4
"""Inches of the longer side of a map."""
_CAPTION = (
    "Attention: averaged over layers and heads, times the number of instances, so that 1 is an even share. "
    "Contribution: the risk with the instance (or the block of instances it is in) minus the risk without it. "
    "Red, above 0: the instance raises the predicted risk; blue: it lowers it."
)


@dataclass(frozen=True, eq=False)
class Shade:
    """What colours stand for: (item,) values, and their range."""

    title: str
    values: Floats
    colours: str
    range: tuple[float, float]


def heatmaps(explanation: Explanation) -> Iterator[FigureOrOmitted]:
    """One a slide."""
    placed = [(part, layer) for part in explanation.parts for layer in part.layers if part.occlusion.items.count > 1]
    if not placed:
        yield Omitted("Heatmap", "no modality of the case has several instances with two coordinates")
    for i, (part, layer) in enumerate(placed):
        where = f"{part.name}, slide {layer.name}" if layer.name else part.name
        title = (
            f"Attention and contribution: {where}" if part.look is not None else f"Contribution to the risk: {where}"
        )
        alt = f"Map of {len(layer.items)} instances of {where}."
        yield ReportFigure(numbered("heatmap", i, len(placed)), title, _CAPTION, alt, _figure(part, layer), colours=256)


def _shades(part: Part) -> list[Shade]:
    contributions = part.occlusion.by_item
    reach = float(np.nanmax(np.abs(contributions), initial=0.0)) or 1.0
    shades = [Shade("contribution", contributions, "RdBu_r", (-reach, reach))]
    if part.look is not None:
        weights = part.look.mean * part.occlusion.items.count
        shades.insert(0, Shade("attention", weights, "viridis", (0.0, float(weights.max()))))
    return shades


def _figure(part: Part, layer: Layer) -> Figure:
    """Attention and contributions side by side; contributions alone without attention."""
    shades = _shades(part)
    low, high = layer.corners.min(axis=0), layer.corners.max(axis=0) + layer.side
    if layer.thumbnail is not None:
        rows, columns = layer.thumbnail.rgb.shape[:2]
        low, high = np.zeros(2), np.array([columns, rows]) * layer.thumbnail.downsample
    wide, tall = np.maximum((high - low) / (high - low).max() * LONG, 0.8)
    size = (float(wide), float(tall))
    figure, axes = panels([shade.title for shade in shades], size, most=2)
    for ax, shade in zip(axes, shades, strict=True):
        _map(figure, ax, layer, shade)
        ax.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), aspect="equal", xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    lay_out(figure, size)
    return figure


def _map(figure: Figure, ax: Axes, layer: Layer, shade: Shade) -> None:
    """Squares over the slide, or alone, with a bar of their colours below."""
    if layer.thumbnail is not None:
        rows, columns = layer.thumbnail.rgb.shape[:2]
        ratio = layer.thumbnail.downsample
        ax.imshow(layer.thumbnail.rgb, extent=(0, columns * ratio, rows * ratio, 0), interpolation="bilinear")
    squares = [Rectangle((x, y), layer.side, layer.side) for x, y in layer.corners]
    drawn = PatchCollection(squares, cmap=shade.colours, alpha=0.6 if layer.thumbnail is not None else 1.0, linewidth=0)
    drawn.set_array(shade.values[layer.items])
    drawn.set_clim(*shade.range)
    ax.add_collection(drawn)
    scale = figure.colorbar(drawn, ax=ax, location="bottom", ticks=MaxNLocator(3), fraction=0.05, pad=0.03, aspect=34)
    scale.set_alpha(1.0)
