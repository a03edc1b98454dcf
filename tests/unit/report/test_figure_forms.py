"""Panels have the size that they are given; logarithmic axes have few ticks within their limits; palettes are near."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from fusionbench.report.figures.class_panels import curves_figure
from fusionbench.report.figures.classes import legend_entry
from fusionbench.report.figures.export import DPI, EmbeddedImage, image_of, png, svg, write_figures
from fusionbench.report.figures.figure import ReportFigure
from fusionbench.report.figures.panels import lay_out, logarithmic, panels, stack
from fusionbench.report.figures.style import Style, legend_handle, report_style
from fusionbench.results.store import Store
from tests.browser import CHROMIUM, FLAGS, needs_chromium
from tests.unit.drawn_results import overlapping

Floats = NDArray[Any]


def everything_drawn(word: str = "gpL 4") -> Figure:
    """Lines, markers, an area, an image that is no mirror of itself, and white and turned text."""
    with report_style():
        figure = Figure(figsize=(4, 3))
        ax = figure.add_axes((0.2, 0.2, 0.7, 0.7))
        ax.imshow(np.arange(6.0).reshape(2, 3), extent=(0, 1, 0, 1), aspect="auto")
        ax.plot([0, 2], [0, 1], marker="^", color="black")
        ax.fill_between([0.2, 0.6], [0, 0], [0.5, 0.9], color="red", alpha=0.4)
        ax.set_xlim(0, 1)
        ax.text(0.1, 0.8, word, fontsize=14, color="white")
        ax.text(0.9, 0.2, "turned", rotation=90)
        ax.set_axis_off()
    return figure


WORD = np.s_[83:110, 157:233]
"""Pixels around the white word."""


def drawn_by_matplotlib(figure: Figure) -> Floats:
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    with report_style():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(float)


def pixels(file: bytes | Path) -> Floats:
    return np.asarray(Image.open(io.BytesIO(file) if isinstance(file, bytes) else file).convert("RGB"), dtype=float)


def assert_same_drawing(seen: Floats, wanted: Floats) -> None:
    """Alike but for the edges of lines and letters; a mirror image, one of the word alone, or no word would be told."""
    assert seen.shape == wanted.shape
    word, wordless = seen[WORD], drawn_by_matplotlib(everything_drawn(""))[WORD]
    assert np.abs(seen - wanted).mean() < 2.5
    assert np.abs(word - wanted[WORD]).mean() < 20
    assert all(np.abs(other - wanted).mean() > 10 for other in (seen[::-1], seen[:, ::-1]))
    assert all(np.abs(other - wanted[WORD]).mean() > 25 for other in (word[::-1], word[:, ::-1], wordless))


def test_a_png_shows_what_matplotlib_draws() -> None:
    assert_same_drawing(pixels(png(image_of(everything_drawn(), 256))), drawn_by_matplotlib(everything_drawn()))


@pytest.mark.slow
@needs_chromium
def test_an_svg_shows_what_matplotlib_draws(tmp_path: Path) -> None:
    drawing, seen = tmp_path / "drawing.svg", tmp_path / "seen.png"
    drawing.write_bytes(svg(everything_drawn()))
    page = tmp_path / "page.html"
    page.write_text('<body style="margin: 0"><img src="drawing.svg" style="display: block">')
    flags = [f"--user-data-dir={tmp_path / 'profile'}", "--force-device-scale-factor=1.5", "--window-size=384,288"]
    command = [CHROMIUM, *FLAGS, *flags, f"--screenshot={seen}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert_same_drawing(pixels(seen), drawn_by_matplotlib(everything_drawn()))


def test_an_svg_holds_one_image_and_says_its_texts() -> None:
    vector = svg(everything_drawn())
    assert vector.count(b"<image") == 1
    assert b"<!-- gpL 4 -->" in vector


@pytest.mark.parametrize(("n", "size", "names"), [(1, (3.8, 0.4), 0), (5, (1.9, 2.0), 40), (6, (2.7, 1.7), 2)])
def test_panels_have_the_size_that_they_are_given(n: int, size: tuple[float, float], names: int) -> None:
    with report_style():
        figure, axes = panels([f"panel {i}" for i in range(n)], size, most=3)
        for ax in axes:
            ax.plot([0, 1], [0, 1e5])
            ax.set(xlabel="months", ylabel="probability")
        lay_out(figure, size, [legend_handle(Style("red", "o"), f"name {i}") for i in range(names)])
    for ax in axes:
        box = ax.get_position()
        width, height = box.width * figure.get_figwidth(), box.height * figure.get_figheight()
        assert (width, height) == pytest.approx(size, rel=0.02)


def test_stacked_panels_keep_their_size_and_their_texts_apart() -> None:
    size = (2.0, 1.5)
    with report_style():
        figure, axes = panels([f"panel {i}" for i in range(5)], size, most=3)
        for ax in axes:
            ax.plot([0, 1], [0, 1e5])
            ax.set(xlabel="months", ylabel="probability")
        lay_out(figure, size, [legend_handle(Style("red", "o"), f"name {i}") for i in range(9)])
        wide = figure.get_figwidth()
        assert stack(figure)
    assert figure.get_figwidth() < wide / 2
    for ax in axes:
        box = ax.get_position()
        assert (box.width * figure.get_figwidth(), box.height * figure.get_figheight()) == pytest.approx(size)
    assert not overlapping(figure)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == [f"name {i}" for i in range(9)]
    assert not stack(Figure().subplots(1, 1).figure), "one column is as narrow as can be"
    assert not stack(panels(["a", "b"], size, most=2, share_y=True)[0]), "the second has no tick labels of its own"


def test_the_legend_of_a_stacked_figure_is_whole_and_in_the_style_of_the_report(tmp_path: Path) -> None:
    """Stacked panels are narrower than an entry with a name, an AUROC and its interval."""
    named = {f"late-fusion[calibration={how}] 0.738 [0.671, 0.807]": CURVE for how in ("none", "temperature")}
    with report_style():
        figure = curves_figure(named, 0.5)
    (image,) = write_figures([ReportFigure("roc-1", "ROC", "", "", figure)], Store.at(tmp_path))
    assert isinstance(image, EmbeddedImage)
    assert image.narrow
    assert image.narrow_width < image.width / 2
    (legend,) = figure.legends
    assert not legend.get_frame_on()
    assert overlapping(figure) == []


CURVE = (np.arange(40) % 3 == 0, np.linspace(0.1, 0.9, 40))


def test_names_in_the_legend_of_curves_are_told_apart() -> None:
    """Names that one line would cut to the same text."""
    names = ["late-fusion[member=logistic]", "late-fusion[calibration=temperature,member=logistic]"]
    entries = [legend_entry(name, "0.700") for name in names]
    assert entries == [f"{names[0]}\n0.700", "late-fusion\n[calibration=tem…ember=logistic]\n0.700"]
    assert legend_entry("logistic", "0.700") == "logistic 0.700"


@given(st.floats(1e-3, 1e6), st.floats(1.05, 1e6))
@settings(max_examples=40, deadline=None)
def test_ticks_of_a_logarithmic_axis(low: float, times: float) -> None:
    with report_style():
        ax = Figure().subplots()
        ax.plot([low, low * times], [0, 1])
        logarithmic(ax)
    first, last = ax.get_xlim()
    ticks = [tick for tick in ax.get_xticks() if first <= tick <= last]
    assert 1 <= len(ticks) <= 8
