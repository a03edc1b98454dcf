"""Heatmaps: attention and contributions to the score as colours of the tiles of a slide or a grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from fusionbench.report.figures.figure import FigureOrOmitted, Omitted, ReportFigure, numbered
from fusionbench.report.figures.panels import lay_out, panels
from fusionbench.report.figures.style import wrapped
from fusionbench.tools.explain.explanation import Explanation, ModalityExplanation
from fusionbench.tools.explain.tiles import SlideTiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LONG_SIDE = 3.4
"""Inches of the longer side of a heatmap."""
SHORT_SIDE = 1.1
"""Inches of the shorter side, at least, which the panel's title needs."""
BAR = 0.1
"""Inches of a colour bar's height."""
RISK_COLOURS = "RdBu_r"
"""Colour map of contributions: red raises the score, blue lowers it, white is 0."""
OPACITY = 0.6
"""Of tiles over a thumbnail, whose tissue stays visible."""
_ATTENTION = "Attention: mean over layers and heads times the number of instances, so that 1 is an even share. "
_CONTRIBUTION = (
    "Contribution: the {score} with the instance (or the block of instances it is in) minus the {score} without it. "
    "Red, above 0: the instance raises the predicted {score}; blue, below 0: it lowers {it}."
)


@dataclass(frozen=True, eq=False)
class HeatmapPanel:
    """One panel of a heatmap.

    Attributes:
        values: (item,) of all instances of the modality, so that several slides share a scale.
        colour_map: of matplotlib, by name.
        limits: values of its first and last colour.
        label: of the colour bar.
    """

    title: str
    values: Floats
    colour_map: str
    limits: tuple[float, float]
    label: str


def heatmaps(explanation: Explanation) -> Iterator[FigureOrOmitted]:
    """A figure for each slide and grid, or the reason why there is none."""
    drawn = [(m, tiles) for m in explanation.modalities for tiles in m.tiles if m.occlusion.items.count > 1]
    if not drawn:
        yield Omitted("Heatmap", "no modality of the case has several instances with two coordinates")
    for i, (modality, tiles) in enumerate(drawn):
        where = f"{modality.name}, slide {tiles.slide}" if tiles.slide else modality.name
        score = modality.score
        about = _CONTRIBUTION.format(score=score.name, it=score.pronoun)
        quantity, caption = f"Contribution to the {score.name}", about
        if modality.attention is not None:
            quantity, caption = f"Attention and contribution to the {score.name}", _ATTENTION + about
        alt = f"{quantity} as colours of {len(tiles.items)} tiles: {where}."
        figure = _figure(modality, tiles)
        yield ReportFigure(
            numbered("heatmap", i, len(drawn)), f"{quantity}: {where}", caption, alt, figure, colours=256
        )


def _panels(modality: ModalityExplanation) -> list[HeatmapPanel]:
    contributions = modality.occlusion.by_item
    # Limits symmetric about 0, so that white is no contribution and red and blue of equal depth are equally large.
    reach = float(np.nanmax(np.abs(contributions), initial=0.0)) or 1.0
    contribution = HeatmapPanel(
        "contribution", contributions, RISK_COLOURS, (-reach, reach), f"red raises, blue lowers {modality.score.name}"
    )
    if modality.attention is None:
        return [contribution]
    share = modality.attention.relative
    return [HeatmapPanel("attention", share, "viridis", (0.0, float(share.max())), "1 = even share"), contribution]


def _figure(modality: ModalityExplanation, tiles: SlideTiles) -> Figure:
    """Attention and contributions side by side; contributions alone without attention."""
    shown = _panels(modality)
    low, high = _extent(tiles)
    width, height = np.maximum((high - low) / (high - low).max() * LONG_SIDE, SHORT_SIDE)
    size = (float(width), float(height))
    figure, axes = panels([panel.title for panel in shown], size, most=2)
    for ax, panel in zip(axes, shown, strict=True):
        bar = _draw(figure, ax, tiles, panel, size[1])
        bar.set_label(wrapped(panel.label, width))
        # y points down, as in images.
        ax.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), aspect="equal", xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    lay_out(figure, size)
    return figure


def _extent(tiles: SlideTiles) -> tuple[Floats, Floats]:
    """(x, y) of the upper left and the lower right corner of what is drawn: the whole slide, or all tiles."""
    if tiles.thumbnail is None:
        return tiles.corners.min(axis=0), tiles.corners.max(axis=0) + tiles.side
    rows, columns = tiles.thumbnail.rgb.shape[:2]
    return np.zeros(2), np.array([columns, rows]) * tiles.thumbnail.downsample


def _draw(figure: Figure, ax: Axes, tiles: SlideTiles, panel: HeatmapPanel, height: float) -> Colorbar:
    """Coloured tiles, over the slide's thumbnail where there is one; returns the colour bar below them.

    Args:
        height: of the panel in inches.
    """
    opacity = 1.0
    if tiles.thumbnail is not None:
        _, (right, bottom) = _extent(tiles)
        ax.imshow(tiles.thumbnail.rgb, extent=(0, right, bottom, 0), interpolation="bilinear")
        opacity = OPACITY
    squares = [Rectangle((x, y), tiles.side, tiles.side) for x, y in tiles.corners]
    drawn = PatchCollection(squares, cmap=panel.colour_map, alpha=opacity, linewidth=0)
    drawn.set_array(panel.values[tiles.items])
    drawn.set_clim(*panel.limits)
    ax.add_collection(drawn)
    bar = ax.inset_axes((0, -2 * BAR / height, 1, BAR / height))
    return figure.colorbar(drawn, cax=bar, orientation="horizontal", ticks=MaxNLocator(3))
