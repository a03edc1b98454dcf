"""A figure drawn once for two files shows what matplotlib would; its axes have round ticks within their limits."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from fusionbench.report.figures.forms import DPI, draw
from fusionbench.report.figures.frame import Side, frame, log_ticks, round_ticks, written
from fusionbench.report.figures.panel import Panel
from fusionbench.report.figures.style import styled


def everything_drawn() -> Figure:
    """Lines, markers, an area, an image that is no mirror of itself, and text both ways, clipped and not."""
    with styled():
        figure = Figure(figsize=(4, 3))
        ax = figure.add_axes((0.2, 0.2, 0.7, 0.7))
        ax.imshow(np.arange(6.0).reshape(2, 3), extent=(0, 1, 0, 1), aspect="auto")
        ax.plot([0, 2], [0, 1], marker="^", color="black")
        ax.fill_between([0.2, 0.6], [0, 0], [0.5, 0.9], color="red", alpha=0.4)
        ax.set_xlim(0, 1)
        ax.text(0.1, 0.8, "gpL 4", fontsize=14, color="white")
        ax.text(0.9, 0.2, "turned", rotation=90)
        ax.set_axis_off()
    return figure


def test_both_files_show_what_matplotlib_draws() -> None:
    made = draw(everything_drawn())
    seen = np.asarray(Image.open(io.BytesIO(made.png(256))).convert("RGB"), dtype=float)
    plain = everything_drawn()
    plain.set_dpi(DPI)
    canvas = FigureCanvasAgg(plain)
    with styled():
        canvas.draw()
    wanted = np.asarray(canvas.buffer_rgba())[..., :3].astype(float)
    assert seen.shape == wanted.shape
    apart = np.abs(seen - wanted).mean()
    mirrored = np.abs(seen[::-1] - wanted).mean()
    assert apart < 2.5 < mirrored / 4
    words = np.s_[40:130, 130:330]  # around the white words, where a mirror image would differ
    assert np.abs(seen[words] - wanted[words]).mean() < 6
    assert made.svg.count(b"<image") == 1
    assert b"<!-- gpL 4 -->" in made.svg


def test_text_of_an_svg_is_matplotlibs_outlines_where_matplotlib_puts_them() -> None:
    mine, plain = draw(everything_drawn()).svg.decode(), io.StringIO()
    with styled():
        everything_drawn().savefig(plain, format="svg")
    seen, wanted = (
        {
            glyph: re.findall(r"[MLQz]|-?\d+", path)
            for glyph, path in re.findall(r'<path id="(DejaVu[^"]+)" d="([^"]+)"', of)
        }
        for of in (mine, plain.getvalue())
    )
    assert len(seen) == len(set("gpL4turned"))
    assert seen == {glyph: path for glyph, path in wanted.items() if path}
    at = r'transform="translate\(([\d.]+) ([\d.]+)\)(?: rotate\((-90)\))? scale'
    for one, other in zip(re.findall(at, mine), re.findall(at, plain.getvalue()), strict=True):
        assert [float(n or 0) for n in one] == pytest.approx([float(n or 0) for n in other])
    letters = re.findall(r'<use xlink:href="#(DejaVu[^"]+)" x="(\d+)" y="0"', mine)
    theirs = re.findall(r'<use xlink:href="#(DejaVu[^"]+)"(?: transform="translate\(([\d.]+) 0\)")?', plain.getvalue())
    placed = [(glyph, float(x or 0) * 64) for glyph, x in theirs if glyph in seen]
    assert [glyph for glyph, _ in letters] == [glyph for glyph, _ in placed]
    assert [float(x) for _, x in letters] == pytest.approx([x for _, x in placed], abs=0.01)


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
def test_ticks_are_round_few_and_tell_themselves_apart(low: float, span: float) -> None:
    ticks = round_ticks(low, low + span)
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    texts = written(ticks)
    assert len(set(texts)) == len(ticks)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    shown = [float(text.replace(",", "").replace("\N{MINUS SIGN}", "-")) for text in texts]
    assert shown == pytest.approx(ticks, abs=1e-3 * step)
    assert "\N{MINUS SIGN}0" not in texts


@given(st.floats(1e-3, 1e6), st.floats(1.05, 1e6))
def test_ticks_of_a_logarithmic_axis(low: float, times: float) -> None:
    ticks = log_ticks(low, low * times)
    assert 1 <= len(ticks) <= 8
    assert all(low * (1 - 1e-9) <= tick <= low * times * (1 + 1e-9) for tick in ticks)


def test_a_frame_says_what_its_axes_are() -> None:
    with styled():
        figure = Figure(figsize=(3, 2))
        panel = Panel(figure, Bbox.from_bounds(0.3, 0.3, 0.6, 0.6), log=True)
        panel.line([1, 100], [0.2, 0.7])
        panel.limit(x=(0, 2), y=(0, 1))
        frame(panel, Side("time (s)"), Side("c", (0, 0.5, 1), ("none", "half", "all")))
    assert [text.get_text() for text in figure.texts] == ["1", "2", "5", "10", "20", "50", "100", "none", "half", "all"]
    assert [text.get_text() for text in panel.texts] == ["time (s)", "c"]
    places = {text.get_text(): text.get_position()[0] for text in figure.texts}
    assert places["10"] == pytest.approx(0.6)
    assert places["100"] == pytest.approx(0.9)


def test_a_panel_holds_what_is_drawn_with_room_around_it_unless_its_limits_are_fixed() -> None:
    panel = Panel(Figure(), Bbox.unit())
    panel.line([0, np.nan, 10], [1, 5, np.nan])
    panel.area([20], [0], [3], colour="red", alpha=1)
    assert np.allclose(panel.limits(), ((-1, 21), (-0.25, 5.25)))
    panel.limit(y=(9, 0))
    assert np.allclose(panel.limits(), ((-1, 21), (9, 0)))
    assert np.allclose(panel.data.transform((10, 0)), panel.within.transform((0.5, 1)))
    panel.bar(30, -20, "red")
    assert np.allclose(panel.limits()[0], (-22, 22))


def test_the_limits_of_a_logarithmic_panel_are_logarithms_and_one_number_has_room() -> None:
    panel = Panel(Figure(), Bbox.unit(), log=True)
    panel.line([100], [7])
    assert np.allclose(panel.limits(), ((1.9, 2.1), (6.9, 7.1)))
