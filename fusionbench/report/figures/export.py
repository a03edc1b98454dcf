"""Figures as SVG and PNG files, and as WebP for a page that embeds its images."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from fusionbench.report.figures.figure import FigureOrOmitted, Mark, Omitted, ReportFigure
from fusionbench.report.figures.panels import stack
from fusionbench.report.figures.style import report_style
from fusionbench.results.store import Store

FOLDER = "figures"
DPI = 144
"""Pixels an inch of a PNG."""
CSS_DPI = 96
"""CSS pixels an inch."""


@dataclass(frozen=True)
class PlacedMark:
    """A mark of an embedded image, in its CSS pixels from the upper left corner."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class EmbeddedImage:
    """A figure that a page shows.

    Attributes:
        uri: the image itself, as a data: address.
        width, height: in CSS pixels at its natural size.
        marks: whose values are shown under a pointer.
        narrow: data: address of the same panels below each other, for a narrow screen; empty where they are anyway.
        narrow_width: of that image.
    """

    name: str
    title: str
    caption: str
    alt: str
    uri: str
    width: int
    height: int
    marks: tuple[PlacedMark, ...] = ()
    narrow: str = ""
    narrow_width: int = 0


def write_figures(
    figures: Iterable[FigureOrOmitted], store: Store, place: str = FOLDER
) -> Iterator[EmbeddedImage | Omitted]:
    """Write each figure as NAME.svg and NAME.png to a folder of the suite's, without the figures of earlier times."""
    folder = store.make_folder(place)
    for old in (*folder.glob("*.svg"), *folder.glob("*.png")):
        store.remove(f"{place}/{old.name}")
    for figure in figures:
        yield figure if isinstance(figure, Omitted) else _write(figure, store, place)


def _write(shown: ReportFigure, store: Store, place: str) -> EmbeddedImage:
    pixels = image_of(shown.figure, shown.colours)
    store.write_bytes(f"{place}/{shown.name}.svg", svg(shown.figure))
    store.write_bytes(f"{place}/{shown.name}.png", png(pixels))
    width, height = _css_size(shown.figure)
    marks = tuple(_placed(mark, height) for mark in shown.marks)
    image = EmbeddedImage(shown.name, shown.title, shown.caption, shown.alt, _uri(pixels), width, height, marks)
    with report_style():  # of the legend, which is made anew
        narrow = not marks and stack(shown.figure)
    if not narrow:
        return image
    return replace(image, narrow=_uri(image_of(shown.figure, shown.colours)), narrow_width=_css_size(shown.figure)[0])


def _uri(pixels: Image.Image) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp(pixels)).decode('ascii')}"


def _css_size(figure: Figure) -> tuple[int, int]:
    width, height = (round(CSS_DPI * float(inches)) for inches in figure.get_size_inches())
    return width, height


def _placed(mark: Mark, height: int) -> PlacedMark:
    """The mark in CSS pixels; matplotlib counts its own pixels from below."""
    x, y = mark.axes.transData.transform((mark.x, mark.y)) * (CSS_DPI / mark.axes.figure.dpi)
    return PlacedMark(float(x), height - float(y), mark.text)


def svg(figure: Figure) -> bytes:
    """The same bytes for the same figure: without a date, with ids from a fixed salt."""
    file = io.BytesIO()
    figure.set_dpi(DPI)
    # A canvas itself, since `savefig` draws twice: first into nothing, for layouts that are not fixed yet.
    with report_style():
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return file.getvalue()


def image_of(figure: Figure, colours: int) -> Image.Image:
    """The pixels of a figure, with a palette of at most `colours` colours."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    with report_style():
        canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    image = Image.fromarray(pixels).convert("RGB")
    return image.quantize(colours, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def png(pixels: Image.Image) -> bytes:
    """A PNG file; with a palette it is about a third as large as in true colour."""
    file = io.BytesIO()
    pixels.save(file, format="PNG", compress_level=9)
    return file.getvalue()


def webp(pixels: Image.Image) -> bytes:
    """A WebP file of the same pixels without loss, a quarter smaller than the PNG."""
    file = io.BytesIO()
    pixels.convert("RGB").save(file, format="WEBP", lossless=True)
    return file.getvalue()
