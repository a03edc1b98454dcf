"""Each figure shows the numbers of the table, or says why it is not there; its texts are whole and never overlap."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from sksurv.nonparametric import kaplan_meier_estimator

from fusionbench.report.figures import MAKERS, make_figures
from fusionbench.report.figures.calibration import calibration, horizon
from fusionbench.report.figures.calibration import points as calibration_points
from fusionbench.report.figures.cost import costs
from fusionbench.report.figures.export import DPI, image_of, png, svg
from fusionbench.report.figures.figure import Omitted, ReportFigure
from fusionbench.report.figures.forest import forest
from fusionbench.report.figures.kaplan_meier import kaplan_meier, p_values, survival
from fusionbench.report.figures.missing import points as rate_points
from fusionbench.report.figures.pooled import pooled, rank_figure
from fusionbench.report.figures.predictions import JoinedPredictions, best_rows, joined_predictions, risk_quarters
from fusionbench.report.figures.rows import alike
from fusionbench.report.figures.style import (
    COLOURS,
    TITLE_SIZE,
    displayable,
    inches,
    report_style,
    shortened,
    styles,
    wrapped,
)
from fusionbench.report.figures.training import by_fold, mean_curve, training
from fusionbench.report.figures.uplift import uplift
from fusionbench.report.findings.pooled import pool_cohorts
from fusionbench.survival.stats import log_rank_p, rank_test, risk_groups
from tests.unit.drawn_results import NASTY, analysed, everything, lock_of, overlapping, renamed, with_survival
from tests.unit.stored_results import make_frames


@pytest.fixture(scope="module")
def small():
    frames = everything(3, 2)
    return analysed(frames), lock_of(frames)


def drawn(pictures):
    return [picture for picture in pictures if isinstance(picture, ReportFigure)]


def made_by(maker, analysis, lock):
    with report_style():
        return drawn(maker(analysis, lock))


def left_out(pictures):
    return {picture.title: picture.reason for picture in pictures if isinstance(picture, Omitted)}


def marks(figure: Figure, panel: int):
    """(x of every mark, (low, high) of every horizontal interval) of a panel."""
    ax = figure.axes[panel]
    points = [float(x) for line in ax.lines if line.get_marker() != "None" for x in line.get_xdata()]
    intervals = [segment[:, 0] for c in ax.collections if isinstance(c, LineCollection) for segment in c.get_segments()]
    spans = [(float(low), float(high)) for low, high in intervals]
    return points, spans


def test_every_figure_is_there(small):
    pictures = list(make_figures(*small))
    names = {picture.name.rstrip("-12") for picture in drawn(pictures)}
    assert names == {
        *("forest", "uplift", "cohorts", "missing-rates", "missing-half", "missing-patterns", "survival"),
        *("calibration", "training-loss", "training-c-index", "cost"),
    }
    assert set(left_out(pictures)) == {"Ranks over cohorts"}
    assert all(picture.alt and picture.caption and picture.title for picture in drawn(pictures))
    assert len({picture.name for picture in drawn(pictures)}) == len(drawn(pictures))


def test_the_forest_shows_the_table(small):
    analysis, lock = small
    (picture,) = drawn(forest(analysis, lock))
    rows = analysis.table.rows
    for panel, dataset in enumerate(dict.fromkeys(rows["dataset"])):
        chosen = rows[
            (rows["dataset"] == dataset) & (rows["pattern"] == "full") & (rows["metric"] == "harrell_c_index")
        ]
        points, spans = marks(picture.figure, panel)
        assert sorted(points) == pytest.approx(sorted(chosen["mean"]))
        wanted = sorted(zip(chosen["ci_low"], chosen["ci_high"], strict=True))
        assert np.array(sorted(spans)) == pytest.approx(np.array(wanted))


def test_uplift_is_that_over_the_best_unimodal_rows(small):
    analysis, lock = small
    (picture,) = drawn(uplift(analysis, lock))
    rows = analysis.table.rows
    chosen = rows[(rows["pattern"] == "full") & (rows["metric"] == "harrell_c_index")]
    c = chosen[chosen["dataset"] == chosen["dataset"].iloc[0]].set_index(["model", "modalities"])["mean"]
    fused = [c[name, "a+b"] for name, sets in c.index if name.startswith("model")]
    references = c["best-unimodal", "a+b"], max(c["uni", "a"], c["uni", "b"])
    wanted = [100 * (value / reference - 1) for reference in references for value in fused]
    assert sorted(marks(picture.figure, 0)[0]) == pytest.approx(sorted(wanted))


def test_the_pooled_figure_is_the_section_mirrored(small):
    analysis, lock = small
    (picture,) = made_by(pooled, analysis, lock)
    assert picture.name == "cohorts"
    (together,) = pool_cohorts(analysis)
    effects = [effect for effect in together.effects.values() if effect is not None]
    points, spans = marks(picture.figure, 0)
    assert sorted(points) == pytest.approx(sorted(-effect.mean for effect in effects))
    wanted = sorted((-effect.high, -effect.low) for effect in effects)
    assert np.array(sorted(spans)) == pytest.approx(np.array(wanted))


def test_ranks_are_drawn_from_six_cohorts_on():
    frames = everything(4, 6)
    analysis = analysed(frames)
    (picture,) = [p for p in made_by(pooled, analysis, lock_of(frames)) if p.name == "ranks"]
    assert "6 cohorts" in picture.alt
    assert overlapping(picture.figure) == []


@pytest.mark.parametrize("n", [2, 3, 12, 40])
def test_names_of_ranks_never_overlap(n):
    values = np.random.default_rng(0).normal(size=(6, n)) + np.arange(n)
    kinds = [(f"model-{i}[with=an-option]", "a+b+c", "base") for i in range(n)]
    with report_style():
        figure = rank_figure(kinds, rank_test(values, higher_is_better=True))
    assert overlapping(figure) == []


def test_rates_are_the_means_of_the_table(small):
    analysis, _ = small
    rows = analysis.table.rows
    first = rows.iloc[0]
    row = tuple(map(str, first[["dataset", "model", "modalities", "variant"]]))
    of = rows[(rows["dataset"] == row[0]) & (rows["model"] == row[1]) & (rows["metric"] == "harrell_c_index")]
    c = of.set_index("pattern")["mean"]
    wanted = [(0.0, c["full"]), (0.25, c["rate:0.25"]), (0.5, c["rate:0.5"])]
    assert np.array(rate_points(analysis, row)) == pytest.approx(np.array(wanted))


TIMES = st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=40)


@given(TIMES)
def test_curves_are_those_of_scikit_survival(cases):
    time, event = np.array([float(t) for t, _ in cases]), np.array([e for _, e in cases])
    curve = kaplan_meier(time, event)
    if event.any():
        at, survival = kaplan_meier_estimator(event, time)
        assert list(curve.time) == list(at)
        assert list(curve.survival) == list(survival)
        assert ((curve.low <= curve.survival + 1e-12) & (curve.survival <= curve.high + 1e-12)).all()
    else:
        assert list(curve.survival) == [1.0]


def test_the_drawn_curves_and_numbers_at_risk():
    frames = everything(2, 1)
    analysis = analysed(frames)
    dataset = frames.cells["dataset"].iloc[0]
    (picture,) = made_by(survival, analysis, lock_of(frames))
    row = best_rows(analysis, dataset)[0].row
    of = joined_predictions(analysis, dataset, [row])[row][0]
    high = risk_groups(of.risk, of.fold)
    at, wanted = kaplan_meier_estimator(of.event[~high], of.time[~high])
    line = picture.figure.axes[0].lines[0]
    assert list(line.get_xdata()) == [0, *at]
    assert list(line.get_ydata()) == [1, *wanted]
    texts = [text.get_text() for text in picture.figure.axes[0].texts]
    assert str((~high).sum()) in texts
    assert p_values({0: of})[0] == log_rank_p(of.time, of.event, high)


def test_each_fold_has_its_own_median_and_its_own_quarters():
    fold = np.repeat([0, 1], 8)
    of = JoinedPredictions(np.arange(1.0, 17), np.ones(16, bool), np.arange(16.0), fold, {})
    assert risk_quarters(of).tolist() == [0, 0, 1, 1, 2, 2, 3, 3] * 2
    assert risk_groups(of.risk, of.fold).tolist() == [False] * 4 + [True] * 4 + [False] * 4 + [True] * 4


def test_log_rank_once_per_repeat():
    frames = make_frames({"x": 1.0, "y": 0.0}, repeats=3)
    analysis = analysed(frames)
    row = ("toy", "x", "a+b", "base")
    of = joined_predictions(analysis, "toy", [row])[row]
    assert sorted(of) == [0, 1, 2]
    assert len(of[0].time) == len(of[2].time) == 100
    assert all(p < 0.05 for p in p_values(of).values())


def test_overlapping_test_folds_are_not_joined():
    frames = make_frames({"x": 1.0, "y": 0.0}, folds=2)
    first = frames.predictions["case"].iloc[0]
    again = frames.predictions[frames.predictions["case"] == first].assign(fold=1)
    twice = replace(frames, predictions=pd.concat([frames.predictions, again], ignore_index=True))
    reasons = left_out(make_figures(analysed(twice), lock_of(frames)))
    assert "overlap" in reasons["Survival by predicted risk: toy"]
    assert "overlap" in reasons["Calibration: toy"]


def test_calibration_is_kaplan_meier_of_each_quarter():
    rng = np.random.default_rng(1)
    n = 400
    predicted_s = rng.uniform(0.2, 0.9, n)
    time = -60 * np.log(rng.uniform(size=n)) / -np.log(predicted_s)
    of = JoinedPredictions(time, np.ones(n, bool), -predicted_s, np.zeros(n, int), {60.0: predicted_s})
    found = calibration_points(of, 60.0)
    for i, (x, dot) in enumerate(found):
        part = risk_quarters(of) == i
        assert x == pytest.approx(predicted_s[part].mean())
        assert dot.value == pytest.approx((time[part] > 60).mean())
        assert dot.low < dot.value < dot.high
        assert dot.value == pytest.approx(x, abs=0.12), "these predictions are true"


def test_a_quarter_whose_follow_up_ends_too_early_is_left_out():
    of = JoinedPredictions(np.full(8, 10.0), np.zeros(8, bool), np.arange(8.0), np.zeros(8, int), {60.0: np.ones(8)})
    assert calibration_points(of, 60.0) == []


@pytest.mark.parametrize(("tau", "month"), [(60.0, 60.0), (48.0, 36.0), (11.0, 12.0)])
def test_the_horizon_lies_within_the_datasets_own(tau, month):
    lock = {"datasets": {"toy": {"tau_months": {"base": tau}}}}
    assert horizon(lock, "toy", (12.0, 36.0, 60.0)) == month


def test_mean_curves_end_where_the_first_fold_stopped():
    rows = [(0, 0, epoch, 2.0) for epoch in (1, 2, 3)] + [(0, 1, epoch, 4.0) for epoch in (1, 2)]
    of = pd.DataFrame(rows, columns=["repeat", "fold", "epoch", "value"])
    assert mean_curve(by_fold(of)).to_dict() == {1: 3.0, 2: 3.0}


def test_costs_are_means_over_folds():
    frames = everything(2, 1)
    row = tuple(frames.cells[["dataset", "model", "modalities", "variant"]].iloc[0])
    mine = frames.cells[(frames.cells["model"] == row[1])]
    assert costs(frames.cells)[row]["fit_seconds"] == pytest.approx(mine["fit_seconds"].mean())


def test_results_without_curves_survival_or_costs_say_so():
    frames = make_frames({"x": 1.0, "y": 0.5})
    reasons = left_out(make_figures(analysed(frames), lock_of(frames)))
    assert set(reasons) == {
        *("Uplift over the best uni-modal model", "Cohorts together", "Modalities hidden at random"),
        *("One modality a patient", "Each missing-modality pattern", "Calibration: toy", "Training curves"),
        *("Validation c-index while training", "Cost against c-index"),
    }
    assert all(reasons.values())


def test_one_model_one_cohort_one_fold():
    frames = with_survival(make_frames({"x": 1.0}, folds=1))
    pictures = list(make_figures(analysed(frames), lock_of(frames)))
    assert {p.name for p in drawn(pictures)} == {"survival", "calibration"}
    assert "need two" in left_out(pictures)["c-index by cohort and model"]


def test_with_one_fold_no_row_is_drawn_as_tied_or_lower():
    frames = make_frames({"x": 1.0, "y": 0.0}, folds=1)
    (picture,) = made_by(forest, analysed(frames), lock_of(frames))
    assert not picture.figure.legends, "both are of one kind"
    assert len(marks(picture.figure, 0)[0]) == 2
    assert "white" not in {line.get_markerfacecolor() for line in picture.figure.axes[0].lines}


OF_ONE_COHORT = (survival, calibration, training)
"""Makers that draw each cohort for itself, at most six rows of it: more cohorts are the same drawing again."""


@pytest.mark.parametrize(
    ("models", "cohorts", "makers"),
    [(12, 5, [maker for maker in MAKERS if maker not in OF_ONE_COHORT]), (40, 1, MAKERS)],
    ids=["12-5", "40-1"],
)
def test_no_text_overlaps_another(models, cohorts, makers):
    frames = everything(models, cohorts)
    frames = renamed(frames, {"model-0[option=0]": NASTY, "cohort-0[image=some-kind-0]": f"{NASTY} of a long name" * 3})
    analysis = analysed(frames, draws=20)
    for maker in makers:
        for picture in made_by(maker, analysis, lock_of(frames)):
            assert overlapping(picture.figure) == [], picture.name


def test_the_test_for_overlaps_can_see_one():
    figure = Figure(figsize=(2, 1))
    figure.text(0.4, 0.5, "one")
    figure.text(0.42, 0.5, "two")
    figure.text(0.95, 0.1, "outside")
    assert set(overlapping(figure)) == {("one", "two"), ("outside", "the edge")}


def test_names_come_out_as_they_are_written(small):
    frames = renamed(everything(3, 1), {"model-0[option=0]": NASTY})
    (picture, *_) = drawn(forest(analysed(frames), lock_of(frames)))
    texts = {text.get_text() for text in picture.figure.findobj(Text)}
    assert any(text.startswith("x$_1$<b>&amp;\\frac{a}{b}") for text in texts)
    svg(picture.figure)  # mathtext would fail on \frac{a} here, or draw a fraction


def test_the_same_drawing_is_the_same_bytes(small):
    twice = [drawn(forest(*small))[0].figure for _ in range(2)]
    assert svg(twice[0]) == svg(twice[1])
    assert png(image_of(twice[0], 64)) == png(image_of(twice[1], 64))
    assert b"<dc:date>" not in svg(twice[0])
    assert Image.open(io.BytesIO(png(image_of(twice[0], 64)))).size[0] == int(
        twice[0].get_figwidth() * DPI
    )  # a part of a pixel is cut off


@given(st.text(max_size=60), st.floats(0.4, 4))
@settings(max_examples=40)
def test_a_name_fits_the_inches_it_is_given(text, width):
    assert inches(shortened(text, width)) <= width
    assert "\n" not in displayable(text)


@given(st.text(alphabet="abcdefg-,+[]= ", min_size=1, max_size=120))
@settings(max_examples=40)
def test_a_title_has_three_lines_at_most(text):
    lines = wrapped(text, 2.0).split("\n")
    assert len(lines) <= 3
    assert all(inches(line, TITLE_SIZE) <= 2.0 for line in lines)


@pytest.mark.parametrize(
    ("title", "wanted"),
    [
        ("tcga-blca[image=xception]", "tcga-blca\n[image=xception]"),
        ("late-fusion[member=cox] on clinical+omic+image", "late-fusion\n[member=cox] on\nclinical+omic+image"),
        ("cox on a+b", "cox on a+b"),
    ],
)
def test_titles_are_broken_within_a_word_only_where_it_is_longer_than_a_line(title, wanted):
    assert wrapped(title, 1.5) == wanted


def test_forty_models_have_forty_looks():
    made = styles([str(i) for i in range(40)])
    assert len({(style.colour, style.marker) for style in made.values()}) == 40
    assert len(set(COLOURS)) == 7


def test_cohorts_of_other_modalities_stand_apart():
    rows = [
        ("one", "m", "a", "base"),
        ("one", "m", "a+b", "base"),
        ("two", "m", "a+b", "base"),
        ("three", "m", "z", "base"),
    ]
    assert alike(rows, lambda dataset: "c") == [["one", "two"], ["three"]]
