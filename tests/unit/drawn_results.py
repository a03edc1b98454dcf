"""Invented results with all that figures are made from, and what tests ask of a figure's texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from fusionbench.report.analysis import Analysis, analyse
from fusionbench.report.figures.style import report_style
from fusionbench.results.frames import PLACE, Frames
from tests.unit.stored_results import DIRECTIONS, make_frames, with_curves

NASTY = "x$_1$<b>&amp;\\frac{a}{b}^%#\n\u4e2d"
MONTHS = (12.0, 36.0, 60.0)
PATTERNS = {"full": 1, "half": 2, "rate:0.25": 2, "rate:0.5": 2, "only:a": 1, "drop:a": 1}


def analysed(frames: Frames, draws: int = 50) -> Analysis:
    return analyse(frames, directions=DIRECTIONS, seed=0, draws=draws)


def lock_of(frames: Frames, **suite: Any) -> dict[str, Any]:
    """As much of a lock as figures and pages read."""
    datasets = dict.fromkeys(frames.cells["dataset"].astype(str))
    about = {"seed": 0, "name": "toy-suite", "title": "A toy", "datasets": list(datasets), "base": True, "variant": []}
    about |= {"metrics": list(DIRECTIONS), "protocol": {}, "train": {}}
    of = {"version": "1", "tau_months": {"base": 60.0}, "checksums": {"file.csv": "0" * 64}, "notes": []}
    return {
        "suite": about | suite,
        "datasets": dict.fromkeys(datasets, of),
        "fusionbench": "0",
        "results_version": 1,
        "options": {},
        "models": {},
        "plugins": {},
        "packages": {},
    }


def everything(models: int, cohorts: int, *, folds: int = 3, cases: int = 60, prefix: str = "model") -> Frames:
    """Fusion models and their single modalities on several cohorts, with curves, survival and costs."""
    names = [f"{prefix}-{i}[option={i}]" for i in range(models)]
    skill: Mapping[str, float] = {
        **{name: 1 - i / models for i, name in enumerate(names)},
        "best-unimodal": 0.4,
        "uni on a": 0.5,
        "uni on b": 0.3,
    }
    datasets = [f"cohort-{i}[image=some-kind-{i}]" for i in range(cohorts)]
    frames = make_frames(skill, datasets=datasets, patterns=PATTERNS, folds=folds, cases=cases)
    losses = [([2.0, 1.5, 1.7], [0.5, 0.6, 0.55])] * folds
    return with_costs(with_survival(with_curves(frames, {"base": losses})))


def with_survival(frames: Frames) -> Frames:
    """Exponential survival by the rank of the predicted risk, under the pattern full."""
    of = frames.predictions
    rank = of.groupby([*PLACE, "pattern", "draw"])["risk"].rank(pct=True)
    curves = {f"S_{month:g}": np.exp(-month / 60 * 2 * rank).where(of["pattern"] == "full") for month in MONTHS}
    return replace(frames, predictions=of.assign(**curves))


def with_costs(frames: Frames) -> Frames:
    rng = np.random.default_rng(0)
    n = len(frames.cells)
    costs = {"fit_seconds": 10 ** rng.uniform(-1, 2, n), "n_parameters": 10 ** rng.integers(1, 6, n)}
    return replace(frames, cells=frames.cells.assign(**costs, process_peak_mib=rng.uniform(500, 900, n)))


def renamed(frames: Frames, names: Mapping[str, str]) -> Frames:
    """Other names of datasets and models."""

    def of(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.replace({c: names for c in ("dataset", "model") if c in frame.columns})

    tables = {name: of(frame) for name, frame in vars(frames).items() if isinstance(frame, pd.DataFrame)}
    return replace(frames, **tables)


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes intersect, and texts that leave the figure, laid out as it is saved."""
    with report_style():
        canvas = FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        hidden = _never_drawn(figure)
        texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in hidden]
        extents = [t.get_window_extent(canvas.get_renderer()).extents for t in texts]
    words = [t.get_text() for t in texts]
    boxes = np.array(extents).reshape(-1, 2, 2)  # (text, lower left or upper right, x or y), pixels
    page = np.array(figure.bbox.extents).reshape(2, 2)
    slack = 0.5  # pixels: boxes are rounded outward
    outside = (boxes[:, 0] < page[0] - slack) | (boxes[:, 1] > page[1] + slack)
    shared = np.minimum(boxes[:, None, 1], boxes[None, :, 1]) - np.maximum(boxes[:, None, 0], boxes[None, :, 0])
    meeting = np.argwhere(np.triu((shared > slack).all(axis=2), k=1))
    return [(words[i], "the edge") for i in np.flatnonzero(outside.any(axis=1))] + [
        (words[i], words[j]) for i, j in meeting
    ]


def _never_drawn(figure: Figure) -> set[Text]:
    """Labels of ticks outside an axis's limits: they are there, and not drawn."""
    hidden: set[Text] = set()
    for axis in (axis for axes in figure.findobj(Axes) for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        room = 1e-9 * (high - low)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not low - room <= tick.get_loc() <= high + room:
                hidden |= {tick.label1, tick.label2}
    return hidden
