"""Suites with follow-up and with classes: each dataset by its own score, words and figures."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn.metrics import confusion_matrix, roc_curve

from fusionbench.cli.mlflow import _orders
from fusionbench.cli.screen import View, print_screen
from fusionbench.core.errors import ResultsError
from fusionbench.core.registry import discover
from fusionbench.report.analysis import Analysis, analyse
from fusionbench.report.build import draw
from fusionbench.report.document import Section, document
from fusionbench.report.figures import make_figures
from fusionbench.report.figures.class_panels import THRESHOLDS, calibration_points, net_benefit
from fusionbench.report.figures.classes import classes
from fusionbench.report.figures.figure import Omitted, ReportFigure
from fusionbench.report.figures.style import report_style
from fusionbench.report.findings import BUILTIN
from fusionbench.report.findings.pooled import pool_cohorts
from fusionbench.report.html.index import front_page
from fusionbench.report.ranking import primary_metrics
from fusionbench.results.frames import Frames, read_frames, write_frames
from fusionbench.results.store import Store
from tests.unit.drawn_results import lock_of, overlapping
from tests.unit.stored_results import make_frames

DIRECTIONS = {"harrell_c_index": True, "ibs": False, "auroc": True, "auprc": True}
TWO, THREE = ("low", "high"), ("a", "b", "c")
PATTERNS = {"full": 1, "half": 1, "rate:0.5": 1, "only:a": 1, "shuffle:a": 1}


def with_labels(frames: Frames, of: dict[str, tuple[str, ...]]) -> Frames:
    """The frames, where some datasets have classes in place of follow-up."""
    rng = np.random.default_rng(3)
    targets, predictions, folds = frames.targets.copy(), frames.predictions.copy(), frames.folds.copy()
    targets["label"] = ""
    targets["event"] = targets["event"].astype(object)
    for dataset, names in of.items():
        mine = targets["dataset"] == dataset
        targets.loc[mine, "label"] = rng.choice(names, int(mine.sum()))
        targets.loc[mine, "time"], targets.loc[mine, "event"] = np.nan, None
        said = predictions["dataset"] == dataset
        odds = np.outer(predictions.loc[said, "risk"].astype(float), np.linspace(-1, 1, len(names)))
        shares = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
        for i, name in enumerate(names):
            predictions.loc[said, f"P({name})"] = shares[:, i]
        predictions.loc[said, "risk"] = np.nan
        scored = folds["dataset"] == dataset
        renamed = folds["metric"].map({"harrell_c_index": "auroc", "ibs": "auprc"})
        folds.loc[scored, "metric"] = renamed[scored]
    kept = folds["metric"].isin(DIRECTIONS)
    return replace(frames, targets=targets, predictions=predictions, folds=folds[kept])


def mixed() -> tuple[Analysis, dict[str, Any]]:
    """Two datasets with follow-up, two with two classes and one with three."""
    names = {"k0": TWO, "k1": TWO, "m": THREE}
    models = {"fused": 2.0, "best-unimodal": 1.0, "xor-unimodal": 0.5, "cox on a": 1.0, "cox on b": 0.5}
    frames = make_frames(models, datasets=("s0", "s1", *names), patterns=PATTERNS, folds=3, cases=60)
    frames = with_labels(frames, names)
    lock = lock_of(frames)
    for dataset, of in names.items():
        lock["datasets"][dataset] = lock["datasets"][dataset] | {"classes": list(of)}
    return analyse(frames, directions=DIRECTIONS, seed=0, draws=20), lock


@pytest.fixture(scope="module")
def of_both() -> tuple[Analysis, dict[str, Any]]:
    return mixed()


def texts_of(section: Section) -> str:
    return " ".join([section.title, section.text, *section.header, *section.notes])


def test_sections_name_the_score_of_their_dataset(of_both: tuple[Analysis, dict[str, Any]]) -> None:
    sections = [section for make in BUILTIN for section in make(*of_both)]
    for dataset in ("s0", "k0", "m"):
        own = [texts_of(section) for section in sections if section.title.startswith(dataset)]
        assert len(own) >= 5
        text = " ".join(own)
        assert ("AUROC" in text) == (dataset != "s0")
        assert any(word in text for word in ("Harrell", "risk", "c_uni")) == (dataset == "s0")


def test_cohorts_of_one_score_are_pooled(of_both: tuple[Analysis, dict[str, Any]]) -> None:
    pooled = pool_cohorts(of_both[0])
    assert [(of.ranking, of.n_cohorts) for of in pooled] == [("harrell_c_index", 2), ("auroc", 3)]


def test_a_figure_has_one_score(of_both: tuple[Analysis, dict[str, Any]]) -> None:
    shown = list(make_figures(*of_both))
    drawn = [one for one in shown if isinstance(one, ReportFigure)]
    for prefix in ("forest", "cohorts", "missing-half", "missing-rates", "missing-patterns"):
        texts = [f"{one.title} {one.caption} {one.alt} {_labels(one)}" for one in drawn if one.name.startswith(prefix)]
        of_c, of_auroc = ([name in text for text in texts] for name in ("c-index", "AUROC"))
        assert any(of_c), prefix
        assert any(of_auroc), prefix
        assert [not of for of in of_c] == of_auroc, prefix
    omitted = [one.title for one in shown if isinstance(one, Omitted)]
    assert "Cost against c-index or AUROC" in omitted


def _labels(one: ReportFigure) -> str:
    return " ".join(f"{ax.get_xlabel()} {ax.get_ylabel()}" for ax in one.figure.axes)


def test_rows_are_sorted_by_the_metric_of_their_dataset(of_both: tuple[Analysis, dict[str, Any]]) -> None:
    rows = of_both[0].table.rows
    found = primary_metrics(rows, DIRECTIONS)
    assert found == {"s0": "harrell_c_index", "s1": "harrell_c_index", "k0": "auroc", "k1": "auroc", "m": "auroc"}
    seen = io.StringIO()
    print_screen(Console(file=seen, width=80), "Title", rows, [], DIRECTIONS, View(every_row=True), [])
    heads = [line.split()[2] for line in seen.getvalue().splitlines() if line.startswith("model ")]
    assert heads == ["c-index", "c-index", "AUROC", "AUROC", "AUROC"]
    narrow = io.StringIO()
    print_screen(Console(file=narrow, width=70), "Title", rows, [], DIRECTIONS, View(), [])
    assert narrow.getvalue().count("95 % interval") == 5  # one a dataset


def test_the_legend_says_the_prevalence(of_both: tuple[Analysis, dict[str, Any]]) -> None:
    analysis = of_both[0]
    labels = analysis.stored.targets.set_index("dataset").loc["k0", "label"]
    share = f"{float((labels == 'high').mean()):.1%}"
    notes = document(analysis.table, "", {})[-1].notes
    (note,) = [note for note in notes if note.startswith("auprc:")]
    assert f"k0: high {share}, low" in note
    assert "s0" not in note


def test_the_figures_of_classes(of_both: tuple[Analysis, dict[str, Any]]) -> None:
    analysis, lock = of_both
    with report_style():
        made = [one for one in classes(analysis, lock) if isinstance(one, ReportFigure)]
        assert [one.name for one in made] == [
            *("roc-1", "class-calibration-1", "confusion-1", "roc-2", "class-calibration-2", "confusion-2"),
            *("roc-3", "confusion-3"),
        ]
        assert all(overlapping(one.figure) == [] for one in made)
    roc = made[0].figure.axes[0]
    frame = analysis.frames.predictions
    own = frame[(frame["dataset"] == "k0") & (frame["model"] == "fused") & (frame["pattern"] == "full")]
    label = analysis.stored.targets.set_index(["dataset", "case"]).loc["k0"]["label"]
    expected = roc_curve((label[own["case"]] == "high").to_numpy(), own["P(high)"])[:2]
    lines = [np.stack(line.get_data()) for line in roc.get_lines()]  # type: ignore[arg-type]
    assert any(line.shape == np.shape(expected) and np.allclose(line, expected) for line in lines)
    assert "'high'" in made[0].caption
    numbers = [int(text.get_text()) for text in made[2].figure.axes[0].texts]
    assert sum(numbers) == 60
    assert "at the most probable class" in made[2].caption, "no threshold is stored"


def test_classes_are_predicted_at_the_threshold_of_each_fold(of_both: tuple[Analysis, dict[str, Any]]) -> None:
    analysis, lock = of_both
    cells = analysis.stored.cells
    at = np.where(cells["model"] == "fused", 0.3 + 0.1 * cells["fold"], np.nan)
    stored = replace(analysis.stored, cells=cells.assign(threshold=np.where(cells["dataset"] == "k0", at, np.nan)))
    with report_style():
        made = [one for one in classes(replace(analysis, stored=stored), lock) if isinstance(one, ReportFigure)]
    (figure,) = (one for one in made if one.name == "confusion-1")
    assert "'high' from that probability on" in figure.caption
    assert "at the most probable class: best-unimodal" in figure.caption
    frame = analysis.frames.predictions
    own = frame[(frame["dataset"] == "k0") & (frame["model"] == "fused") & (frame["pattern"] == "full")]
    label = analysis.stored.targets.set_index(["dataset", "case"]).loc["k0"]["label"]
    high = (label[own["case"]] == "high").to_numpy()
    expected = confusion_matrix(high, own["P(high)"] >= 0.3 + 0.1 * own["fold"])
    panel = figure.figure.axes[0]
    assert [int(text.get_text()) for text in panel.texts] == expected.ravel().tolist()


def test_net_benefit_is_that_of_vickers_and_elkin() -> None:
    own, probability = np.array([True, True, False, False]), np.array([0.9, 0.4, 0.6, 0.1])
    at = {round(float(t), 2): float(b) for t, b in zip(THRESHOLDS, net_benefit(own, probability), strict=True)}
    assert at[0.5] == pytest.approx(1 / 4 - 1 / 4)
    assert at[0.2] == pytest.approx(2 / 4 - 1 / 4 * 0.25)


def test_points_of_calibration_are_shares_of_equal_parts() -> None:
    probability = np.linspace(0.01, 0.99, 100)
    own = probability > 0.5
    x, share, low, high = calibration_points(own, probability)
    assert x == pytest.approx(probability.reshape(5, 20).mean(axis=1))
    assert share == pytest.approx([0, 0, 0.5, 1, 1])
    assert (low[0], high[0]) == pytest.approx((0.0, 0.1611), abs=1e-4)  # Wilson's interval of 0 of 20


def test_figures_of_the_other_kind_are_absent_and_the_reason_is_said() -> None:
    frames = make_frames({"x": 1.0, "y": 0.5}, folds=3, cases=60)
    analysis = analyse(frames, directions=DIRECTIONS | {"d_calibration": None}, seed=0, draws=20)
    lock = lock_of(frames)
    assert list(classes(analysis, lock)) == []
    with pytest.raises(ResultsError, match="no figure classes 1 of 0; it is about another kind of endpoint"):
        draw(frames, lock, discover(("metrics",)), "classes")


def test_stored_targets_keep_their_types(tmp_path: Path) -> None:
    frames = with_labels(make_frames({"x": 1.0}, datasets=("s", "k"), folds=3, cases=30), {"k": TWO})
    store = Store(tmp_path, "suite")
    write_frames(frames, store)
    read = read_frames(store.folder).targets
    of_time, of_class = read[read["dataset"] == "s"], read[read["dataset"] == "k"]
    known = frames.targets[frames.targets["dataset"] == "s"]
    assert of_time["event"].tolist() == known["event"].tolist()
    assert of_time["time"].to_numpy() == pytest.approx(known["time"].to_numpy(float))
    assert of_class["time"].isna().all()
    assert not of_class["event"].astype(bool).any()


def test_links_and_the_front_page_follow_each_kind_of_endpoint(tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "suite.lock.toml").write_text(
        '[suite]\ntitle = "t"\nseed = 0\nmetrics = ["ibs", "harrell_c_index", "auroc"]\n[suite.protocol]\n'
        "repeats = 1\n[datasets.s]\n[datasets.k]\n"
        'classes = ["low", "high"]\n'
    )
    assert [(order.metric, order.ascending) for order in _orders(tmp_path, "suite")] == [
        ("ibs", True),
        ("auroc", False),
    ]
    columns = ["dataset", "model", "modalities", "variant", "pattern", "metric", "mean", "ci_low", "ci_high", "n_cases"]
    lines = [("k", "m", "a", "base", "full", "auroc", 0.8, 0.7, 0.9, 10)]
    pd.DataFrame(lines, columns=columns).to_csv(folder / "table.csv", index=False)
    page = front_page(tmp_path, ["suite"], {})
    assert "best rows by mean AUROC." in page
    assert "c-index" not in page
