"""A figure as SVG and as PNG, drawn once: what takes the time is asking every artist, not writing what it answers."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.backend_bases import GraphicsContextBase, RendererBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.transforms import Affine2D, Bbox, TransformedPath
from numpy.typing import NDArray
from PIL import Image

from fusionbench.report.figures.lettering import Lettering
from fusionbench.report.figures.style import RC, measured, styled, width

DPI = 144
POINTS = 72
"""Pixels an inch of an SVG, in which the figure is laid out."""

COLOURS = 64
"""Of a PNG: drawings need few, and a palette of their own makes files a third as large."""

_SVG: Any = RendererSVG
_AGG: Any = RendererAgg
"""matplotlib's stubs leave both without types."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """The same bytes for the same figure: no date, ids by a fixed salt.

    Attributes:
        pixels: (row, column, 3) uint8, at `DPI`.
    """

    svg: bytes
    pixels: NDArray[np.uint8]

    def png(self, colours: int = COLOURS) -> bytes:
        """Of so many colours at most. Takes no interpreter, so that it may be done beside the next drawing."""
        file, image = io.BytesIO(), Image.fromarray(self.pixels)
        image.quantize(colours, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, format="PNG")
        return file.getvalue()


def draw(figure: Figure) -> Drawing:
    """Both forms of a figure."""
    text = io.StringIO()
    with styled():
        figure.set_dpi(POINTS)
        both = _Both(figure, text)
        figure.draw(both)
        both.svg.finalize()
    pixels = np.asarray(both.agg.buffer_rgba())[..., :3]
    return Drawing(text.getvalue().encode("utf-8"), np.ascontiguousarray(pixels))


class _Both(RendererBase):
    """Hands everything on to two renderers; to the one of pixels larger, line widths and type sizes being points."""

    def __init__(self, figure: Figure, text: io.StringIO) -> None:
        super().__init__()
        across, up = (float(inches) for inches in figure.get_size_inches())
        told = {"Date": None, "Creator": None}
        self.svg = _SVG(across * POINTS, up * POINTS, text, image_dpi=DPI, metadata=told)
        self.lettering = Lettering(self.svg.writer)
        self.agg = _AGG(across * DPI, up * DPI, DPI)
        self.factor = DPI / POINTS
        self.larger = Affine2D().scale(self.factor)

    def flipy(self) -> bool:
        return True

    def get_canvas_width_height(self) -> tuple[float, float]:
        return self.svg.width, self.svg.height

    def get_image_magnification(self) -> float:
        return self.factor

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> tuple[float, float, float]:
        return measured(s, prop.get_size_in_points(), prop.get_weight())

    def open_group(self, s: str, gid: str | None = None) -> None:
        self.svg.open_group(s, gid)

    def close_group(self, s: str) -> None:
        self.svg.close_group(s)

    def draw_path(self, gc: Any, path: Any, transform: Any, rgbFace: Any = None) -> None:
        self.svg.draw_path(gc, path, transform, rgbFace)
        self.agg.draw_path(self._clipped(gc), path, transform + self.larger, rgbFace)

    def draw_markers(
        self, gc: Any, marker_path: Any, marker_trans: Any, path: Any, trans: Any, rgbFace: Any = None
    ) -> None:
        self.svg.draw_markers(gc, marker_path, marker_trans, path, trans, rgbFace)
        larger = self.larger
        self.agg.draw_markers(self._clipped(gc), marker_path, marker_trans + larger, path, trans + larger, rgbFace)

    def draw_image(self, gc: Any, x: float, y: float, im: Any, transform: Any = None) -> None:
        """Pixels of the image are those of the PNG, by `get_image_magnification`."""
        self.svg.draw_image(gc, x, y, im, transform)
        self.agg.draw_image(self._clipped(gc), x * self.factor, y * self.factor, im)

    def draw_text(
        self, gc: Any, x: float, y: float, s: str, prop: Any, angle: float, ismath: Any = False, mtext: Any = None
    ) -> None:
        assert gc.get_clip_rectangle() is None, f"{s!r} is clipped, which is not written"
        size, weight, colour = prop.get_size_in_points(), prop.get_weight(), gc.get_rgb()
        self.lettering.write(s, (x, y), size, weight, angle, colour)
        seen = _stamp(s, size, weight, angle, colour)
        left, below = round(x * self.factor) + seen.left, round(y * self.factor) + seen.below
        self.agg.draw_image(self._clipped(gc), left, self.agg.height - below, seen.pixels)

    def _clipped(self, gc: Any) -> Any:
        """The same pen, clipped where the larger drawing is."""
        box, (path, transform) = gc.get_clip_rectangle(), gc.get_clip_path()
        if box is None and path is None:
            return gc
        larger: Any = GraphicsContextBase()
        larger.copy_properties(gc)
        larger.set_clip_rectangle(None if box is None else Bbox(box.get_points() * self.factor))
        larger.set_clip_path(None if path is None else TransformedPath(path, transform + self.larger))
        return larger


@dataclass(frozen=True, eq=False)
class _Stamp:
    """Text in pixels.

    Attributes:
        pixels: (row from below, column, 4) uint8, as images are drawn.
        left, below: pixels from where the text is anchored to the lower left corner.
    """

    pixels: Any
    left: int
    below: int


@lru_cache(maxsize=4096)
def _stamp(s: str, size: float, weight: str, angle: float, colour: tuple[float, ...]) -> _Stamp:
    """Names, numbers and labels stand in many panels: each is drawn once."""
    prop = FontProperties(family=RC["font.family"], size=size, weight=weight)
    across, up = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    long, high = width(s, size, weight) * DPI * 1.1, 2 * size / POINTS * DPI
    x, y = round(long * across + high * up) + 4, round(long * up + high * across) + 4
    agg = _AGG(2 * x, 2 * y, DPI)
    pen: Any = GraphicsContextBase()
    pen.set_foreground(colour, isRGBA=True)
    agg.draw_text(pen, x, y, s, prop, angle)
    pixels = np.asarray(agg.buffer_rgba())
    rows, columns = (np.flatnonzero(pixels[..., 3].any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return _Stamp(np.zeros((1, 1, 4), np.uint8), 0, 0)
    part = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _Stamp(np.ascontiguousarray(part[::-1]), int(columns[0]) - x, int(rows[-1]) + 1 - y)
