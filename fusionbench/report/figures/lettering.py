"""Text of an SVG as outlines, so that it looks alike wherever it is opened; each outline and each text stands once.

matplotlib lays every text out anew, which takes a third of a report's time: names and numbers stand in many panels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from matplotlib.colors import rgb2hex
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font
from matplotlib.path import Path
from matplotlib.textpath import TextToPath

from fusionbench.report.figures.style import RC

FINE = 64
"""Parts of a unit in which a font's outlines are whole numbers."""

_LETTERS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}
_POINTS = {Path.MOVETO: 1, Path.LINETO: 1, Path.CURVE3: 2, Path.CURVE4: 3, Path.CLOSEPOLY: 1}
_TO_PATH: Any = TextToPath()


@dataclass(frozen=True)
class _Text:
    """A text of `TextToPath.FONT_SCALE` points.

    Attributes:
        glyphs: those with an outline, from left to right, and how far right and up of the beginning in `FINE` parts.
        outlines: glyph to its path in `FINE` parts, as SVG writes it.
    """

    glyphs: tuple[tuple[str, float, float], ...]
    outlines: Mapping[str, str]


class Lettering:
    """Writes texts into one SVG.

    Args:
        writer: of `RendererSVG`.
    """

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._glyphs: set[str] = set()
        self._texts: dict[tuple[str, str], str] = {}

    def write(self, s: str, at: tuple[float, float], size: float, weight: str, angle: float, colour: Any) -> None:
        """
        Args:
            at: pixels right and down, where the baseline begins. angle: degrees, to the left.
        """
        self._writer.comment(s)
        scale = size / _TO_PATH.FONT_SCALE / FINE
        turned = f" rotate({-angle:g})" if angle else ""
        self._writer.element(
            "use",
            transform=f"translate({at[0]:.6f} {at[1]:.6f}){turned} scale({scale:.6g} {-scale:.6g})",
            style=f"fill: {rgb2hex(colour)}" + (f"; opacity: {colour[3]:g}" if colour[3] != 1 else ""),
            attrib={"xlink:href": f"#{self._defined(s, weight)}"},
        )

    def _defined(self, s: str, weight: str) -> str:
        if (s, weight) not in self._texts:
            text, name = _laid_out(s, weight), f"text-{len(self._texts)}"
            self._writer.start("defs")
            for glyph, outline in text.outlines.items():
                if glyph not in self._glyphs:
                    self._glyphs.add(glyph)
                    self._writer.element("path", id=glyph, d=outline)
            self._writer.start("g", id=name)
            for glyph, x, y in text.glyphs:
                self._writer.element("use", x=f"{x:.0f}", y=f"{y:.0f}", attrib={"xlink:href": f"#{glyph}"})
            self._writer.end("g")
            self._writer.end("defs")
            self._texts[s, weight] = name
        return self._texts[s, weight]


@lru_cache(maxsize=4096)
def _laid_out(s: str, weight: str) -> _Text:
    font: Any = FT2Font(findfont(FontProperties(family=RC["font.family"], weight=weight)))
    font.set_size(_TO_PATH.FONT_SCALE, _TO_PATH.DPI)
    placed, paths, _ = _TO_PATH.get_glyphs_with_font(font, s)
    outlines = {glyph: _outline(vertices * FINE, codes) for glyph, (vertices, codes) in paths.items() if len(codes)}
    return _Text(tuple((glyph, x * FINE, y * FINE) for glyph, x, y, _ in placed if glyph in outlines), outlines)


def _outline(vertices: Any, codes: Any) -> str:
    parts, i = [], 0
    while i < len(codes):
        n = _POINTS[codes[i]]
        points = " ".join(f"{x:.0f} {y:.0f}" for x, y in vertices[i : i + n])
        parts.append("z" if codes[i] == Path.CLOSEPOLY else f"{_LETTERS[codes[i]]}{points}")
        i += n
    return "".join(parts)
