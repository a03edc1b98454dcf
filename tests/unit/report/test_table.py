"""The comparison table from stored frames: nothing dropped, nothing retrained, readable in every format."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from fusionbench.core.errors import ResultsError
from fusionbench.report.analysis import analyse
from fusionbench.report.document import document
from fusionbench.report.model import PAIR_COLUMNS, TABLE_COLUMNS
from fusionbench.report.order import best_first, tidy
from fusionbench.report.paired import compare
from fusionbench.report.render import render
from fusionbench.results.frames import Frames
from fusionbench.survival.stats import corrected_t_test, holm
from tests.unit.stored_results import DIRECTIONS, make_frames

FORMATS = ("md", "latex", "html", "csv")
NASTY = "a|b_*c*_<script>&%$#{}\\~^`x`](http://x)\n2"


def table_of(frames, draws=200, seed=0):
    return analyse(frames, directions=DIRECTIONS, seed=seed, draws=draws).table


def rows_of(table, metric="harrell_c_index", pattern="full"):
    chosen = table.rows[(table.rows["metric"] == metric) & (table.rows["pattern"] == pattern)]
    return chosen.set_index("model")


def test_columns_are_the_documented_ones():
    table = table_of(make_frames({"x": 1.0, "y": 0.0}))
    documented = (
        "dataset, model, modalities, protocol, pattern, metric, mean, sd, ci_low, ci_high, n_folds, n_failed, "
        "tie_group, variant, train_pattern, policy, tuned, n_repeats, n_cases, n_skipped, unit"
    )
    assert list(table.rows.columns) == list(TABLE_COLUMNS) == documented.split(", ")
    assert list(table.tests.columns) == list(PAIR_COLUMNS)


def test_means_and_spread_over_folds_then_repeats():
    frames = make_frames({"x": 1.0, "y": 0.5}, repeats=3, folds=4)
    line = rows_of(table_of(frames)).loc["x"]
    values = frames.folds[(frames.folds["model"] == "x") & (frames.folds["metric"] == "harrell_c_index")]
    assert line["mean"] == pytest.approx(values.groupby("repeat")["value"].mean().mean())
    assert line["sd"] == pytest.approx(values["value"].std(ddof=1))
    assert (line["n_folds"], line["n_repeats"], line["n_cases"]) == (12, 3, 100)


def test_published_folds_count_once():
    frames = make_frames({"x": 1.0, "y": 0.5}, repeats=3, folds=4, fold_source="published")
    table = table_of(frames)
    values = frames.folds[(frames.folds["model"] == "x") & (frames.folds["metric"] == "harrell_c_index")]
    assert rows_of(table).loc["x", "sd"] == pytest.approx(values.groupby("fold")["value"].mean().std(ddof=1))
    assert set(table.tests["df"]) == {3}
    assert "published folds" in render(table, "md")


def test_intervals_hold_the_mean_for_harrell_and_are_absent_elsewhere():
    table = table_of(make_frames({"x": 1.0, "y": 0.0}, repeats=2, patterns={"full": 1, "half": 4}))
    for pattern in ("full", "half"):
        of = rows_of(table, pattern=pattern)
        assert ((of["ci_low"] < of["mean"]) & (of["mean"] < of["ci_high"])).all()
    assert rows_of(table, "ibs")[["ci_low", "ci_high"]].isna().all(axis=None)


def test_intervals_follow_the_seed_and_no_other_model():
    frames = make_frames({"x": 1.0, "y": 0.5})
    pd.testing.assert_frame_equal(table_of(frames).rows, table_of(frames).rows)
    alone = frames.cells["model"] == "x"
    only_x = replace(
        frames,
        cells=frames.cells[alone],
        folds=frames.folds[frames.folds["model"] == "x"],
        predictions=frames.predictions[frames.predictions["model"] == "x"],
    )
    columns = ["mean", "sd", "ci_low", "ci_high"]
    together, single = rows_of(table_of(frames)).loc["x", columns], rows_of(table_of(only_x)).loc["x", columns]
    assert together.equals(single)
    assert not rows_of(table_of(frames, seed=1))["ci_low"].equals(rows_of(table_of(frames))["ci_low"])


def test_tie_groups_are_the_corrected_test_after_holm():
    frames = make_frames({"good": 3.0, "fair": 0.8, "poor": 0.2, "chance": 0.0}, repeats=2, cases=600)
    table = table_of(frames)
    values = frames.folds[frames.folds["metric"] == "harrell_c_index"].pivot(
        index=["repeat", "fold"], columns="model", values="value"
    )
    others = ["fair", "poor", "chance"]
    p = holm([corrected_t_test(values["good"] - values[m], 120 / 480).p for m in others])
    tests = table.tests[table.tests["metric"] == "harrell_c_index"].set_index("model_b")
    assert tests.loc[others, "p_holm"].to_numpy() == pytest.approx(p)
    expected = {"good": "a", **{m: "a" if q > 0.05 else "" for m, q in zip(others, p, strict=True)}}
    assert dict(rows_of(table)["tie_group"]) == expected
    assert expected["chance"] == ""
    assert (tests["ci_low"] < tests["difference"]).all()
    assert tests.loc["chance", "ci_low"] > 0.1


def test_lower_is_better_and_directionless_metrics():
    table = table_of(make_frames({"x": 1.0, "y": 0.5, "z": 0.1}))
    ibs = rows_of(table, "ibs")
    assert (("toy", ibs["mean"].idxmin(), "a+b", "base"), "full", "ibs") in table.best
    assert set(rows_of(table, "d_calibration")["tie_group"]) == {""}
    assert "d_calibration" not in set(table.tests["metric"])


def test_the_oracle_is_shown_and_not_ranked():
    table = table_of(make_frames({"oracle": 9.0, "x": 1.0, "y": 0.5}))
    assert rows_of(table).loc["oracle", "tie_group"] == ""
    assert "oracle" not in {*table.tests["model_a"], *table.tests["model_b"]}
    assert not any(row[1] == "oracle" for row, _, _ in table.best)
    assert "oracle" in render(table, "md")


def change(frames, model, folds, **values):
    """Some cells of a model with other values, and without scores."""
    hit = (frames.cells["model"] == model) & frames.cells["fold"].isin(folds)
    gone = {name: getattr(frames, name) for name in ("folds", "predictions")}
    kept = {name: f[~((f["model"] == model) & f["fold"].isin(folds))] for name, f in gone.items()}
    cells = frames.cells.assign(**{k: frames.cells[k].where(~hit, v) for k, v in values.items()})
    return replace(frames, cells=cells, **kept)


def test_failed_cells_are_counted_and_named():
    frames = change(make_frames({"x": 1.0, "y": 0.5}), "x", [1, 3], status="failed", reason="loss became NaN")
    table = table_of(frames)
    line = rows_of(table).loc["x"]
    assert (line["n_folds"], line["n_failed"], line["n_cases"]) == (3, 2, 60)
    text = render(table, "md")
    assert "failed: x on a+b, 2 cells: loss became NaN" in text
    assert "n_failed" in text


def test_a_row_that_failed_altogether_stays():
    frames = change(make_frames({"x": 1.0, "y": 0.5}), "x", range(5), status="failed", reason="out of memory")
    table = table_of(frames)
    of = table.rows[table.rows["model"] == "x"]
    assert list(of["metric"]) == list(DIRECTIONS)
    assert of["mean"].isna().all()
    assert set(of["n_failed"]) == {5}
    assert "| failed" in render(table, "md")


def test_everything_failed():
    frames = make_frames({"x": 1.0, "y": 0.5})
    for model in ("x", "y"):
        frames = change(frames, model, range(5), status="failed", reason="no")
    table = table_of(frames)
    assert table.rows["mean"].isna().all()
    assert table.best == frozenset()
    for fmt in FORMATS:
        assert "failed" in render(table, fmt)


def test_skipped_rows_are_listed_below_not_among_the_numbers():
    frames = change(make_frames({"x": 1.0, "y": 0.5}), "x", range(5), status="skipped", reason="needs six groups")
    table = table_of(frames)
    assert set(table.rows.loc[table.rows["model"] == "x", "n_skipped"]) == {5}
    lines = [line for section in document(table, "", {}) for line in section.lines]
    assert {line[0].text for line in lines} == {"y"}
    assert "skipped: x on a+b, 5 cells: needs six groups" in render(table, "md")


def test_missing_cells_are_progress_not_failures():
    frames = change(make_frames({"x": 1.0, "y": 0.5}), "x", [0, 1, 2], status="missing", reason="not run yet")
    table = table_of(frames)
    assert rows_of(table).loc["x", "n_failed"] == 0
    assert "7 of 10 cells" in render(table, "md")
    whole = change(make_frames({"x": 1.0, "y": 0.5}), "x", range(5), status="missing", reason="not run yet")
    assert set(table_of(whole).rows["model"]) == {"y"}


def test_undefined_values_are_told_with_their_reason():
    frames = make_frames({"x": 1.0, "y": 0.5})
    gone = (frames.folds["metric"] == "ibs") & (frames.folds["fold"] < 2)
    folds = frames.folds.assign(
        value=frames.folds["value"].where(~gone), reason=frames.folds["reason"].where(~gone, "no event")
    )
    table = table_of(replace(frames, folds=folds))
    assert set(rows_of(table, "ibs")["n_folds"]) == {3}
    assert "ibs undefined under full in 4 folds of 2 rows: no event" in render(table, "md")
    folds.loc[folds["metric"] == "ibs", "value"] = math.nan
    lines = [line for section in document(table_of(replace(frames, folds=folds)), "", {}) for line in section.lines]
    assert [line[3].text for line in lines] == ["undefined", "undefined"]


def test_values_that_rest_on_some_draws_are_not_called_undefined():
    frames = make_frames({"x": 1.0, "y": 0.5}, patterns={"full": 1, "half": 2})
    folds, told = frames.folds.copy(), "of 10 draws undefined: no event"
    half = (folds["metric"] == "ibs") & (folds["pattern"] == "half")
    folds.loc[half & (folds["fold"] < 2), "reason"] = f"2 {told}"
    folds.loc[half & (folds["fold"] == 2) & (folds["model"] == "x"), "reason"] = f"3 {told}"
    gone = half & (folds["fold"] == 4) & (folds["model"] == "y")
    folds.loc[gone, ["value", "reason"]] = [math.nan, "no pair"]
    table = table_of(replace(frames, folds=folds))
    text = render(table, "md")
    assert "ibs undefined under half in 1 fold of 1 row: no pair" in text
    assert text.count("undefined under") == 1
    assert f"ibs under half is a mean over the defined draws in 5 folds of 2 rows: 2 {told}; 3 {told}" in text
    assert dict(rows_of(table, "ibs", "half")["n_folds"]) == {"x": 5, "y": 4}


def test_one_model_has_nobody_to_beat():
    table = table_of(make_frames({"x": 1.0}))
    assert set(table.rows["tie_group"]) == {""}
    assert table.tests.empty
    assert "**" not in render(table, "md")


def test_one_fold_has_no_spread_and_no_test():
    frames = make_frames({"x": 1.0, "y": 0.5})
    first = {name: f[f["fold"] == 0] for name, f in vars(frames).items() if f is not None and "fold" in f.columns}
    table = table_of(replace(frames, **first))
    assert rows_of(table)["sd"].isna().all()
    assert set(rows_of(table)["tie_group"]) == {""}
    text = render(table, "md")
    assert text.count("with one fold nothing can be tested, so no row is marked a") == 1
    assert "**" in text, "the best mean is bold all the same"
    assert "n_cases: cases scored" in text
    assert table.tests["p"].isna().all()
    assert set(table.tests["reason"]) == {"fewer than two folds in common"}
    for fmt in FORMATS:
        assert "nan" not in render(table, fmt).lower()


def with_events(frames: Frames, n: int) -> Frames:
    """The first `n` cases by id have an event, and no others."""
    return replace(frames, targets=frames.targets.assign(event=frames.targets["case"].rank() <= n))


def test_with_fewer_than_ten_events_nothing_is_tested_and_no_interval_is_given():
    frames = make_frames({"x": 1.0, "y": 0.5})
    few, enough = (table_of(with_events(frames, n)) for n in (9, 10))
    for name in ("ci_low", "ci_high"):
        assert rows_of(few)[name].isna().all()
        assert rows_of(enough)[name].notna().all()
    assert set(rows_of(few)["tie_group"]) == {""}
    assert few.tests["p"].isna().all()
    assert few.tests["difference"].notna().all()
    assert set(few.tests["reason"]) == {"9 patients with an event, fewer than 10"}
    assert enough.tests["p"].notna().all()
    text = render(few, "md")
    assert text.count("no intervals: 9 patients with an event, fewer than 10") == 1
    assert "with too few outcomes nothing can be tested" in text
    assert "fewer than 10" not in render(enough, "md")


def test_slides_of_one_patient_are_one_event():
    frames = with_events(make_frames({"x": 1.0, "y": 0.5}), 12)
    targets = frames.targets.assign(group=frames.targets["case"].rank().floordiv(2).astype(int).astype(str))
    slides = replace(frames, targets=targets, cells=frames.cells.assign(unit="slide"))
    assert "7 patients with an event, fewer than 10" in set(table_of(slides).tests["reason"])


def test_rows_that_lack_different_folds_have_no_interval_of_their_difference():
    """A row's draws are means over its own folds: those of other folds do not pair with them."""
    frames = make_frames({"x": 1.0, "y": 0.5, "z": 0.3})
    folds = frames.folds.copy()
    gone = (folds["metric"] == "harrell_c_index") & (folds["fold"] == 4) & (folds["model"] == "y")
    folds.loc[gone, ["value", "reason"]] = [math.nan, "no pair"]
    tests = table_of(replace(frames, folds=folds)).tests
    lines = tests[tests["metric"] == "harrell_c_index"].set_index("model_b")
    assert math.isnan(lines.loc["y", "ci_low"])
    assert lines.loc["y", "n_folds"] == 4
    assert not math.isnan(lines.loc["y", "p"])
    assert lines.loc["z", "ci_low"] < lines.loc["z", "difference"] < lines.loc["z", "ci_high"]


def test_variants_on_the_same_folds_are_ranked_together():
    frames = make_frames({"x": 1.0}, variants=("base", "l1"))
    table = table_of(frames)
    assert len(table.tests[table.tests["metric"] == "harrell_c_index"]) == 1
    assert "variant" in render(table, "md")


def test_variants_on_other_folds_are_not_paired():
    frames, other = make_frames({"x": 1.0, "y": 0.5}), make_frames({"x": 1.0, "y": 0.5}, variants=("other",), folds=4)
    both = {
        name: pd.concat([f, vars(other)[name]])
        for name, f in vars(frames).items()
        if name not in ("targets", "external")
    }
    table = table_of(replace(frames, **both))
    assert (table.tests["variant_a"] == table.tests["variant_b"]).all()
    assert len(table.tests) == 4
    assert "base: protocol clean, 1 x 5 generated folds" in render(table, "md")


def test_slides_are_resampled_by_patient():
    """Copies of each patient add no information: intervals are those of the patients, not of their slides."""
    frames = make_frames({"x": 1.0, "y": 0.5})
    copies = [f"{i}" for i in range(4)]

    def slides(frame):
        return pd.concat([frame.assign(case=frame["case"] + copy) for copy in copies], ignore_index=True)

    many = replace(frames, targets=slides(frames.targets), predictions=slides(frames.predictions))
    as_slides = replace(many, cells=many.cells.assign(unit="slide"))
    width = {
        name: float(np.subtract(*rows_of(table_of(f)).loc["x", ["ci_high", "ci_low"]]))
        for name, f in {"patients": frames, "slides": as_slides, "wrong": many}.items()
    }
    assert width["slides"] == pytest.approx(width["patients"], rel=0.15)
    assert width["wrong"] < 0.7 * width["patients"]


def test_prior_cases_are_told_in_the_policy():
    frames = make_frames({"x": 1.0, "y": 0.5})
    table = table_of(replace(frames, folds=frames.folds.assign(n_prior=2)))
    assert set(table.rows["policy"]) == {"native, 10 prior"}


def test_stored_c_is_what_the_predictions_give():
    frames = make_frames({"x": 1.0, "y": 0.5}, patterns={"full": 1, "half": 3})
    table, pairs = table_of(frames), compare(frames, "x", "y", directions=DIRECTIONS, seed=0, draws=50)
    for pattern in ("full", "half"):
        again = pairs[(pairs["pattern"] == pattern) & (pairs["metric"] == "harrell_c_index")].iloc[0]
        assert again["mean_a"] == pytest.approx(rows_of(table, pattern=pattern).loc["x", "mean"], abs=1e-12)
        assert again["ci_low"] < again["difference"] < again["ci_high"]
    assert "d_calibration" not in set(pairs["metric"])


def test_compare_uses_the_patients_both_have():
    frames = make_frames({"x": 1.0, "y": 1.0})
    lost = (frames.predictions["model"] == "y") & frames.predictions["case"].isin([f"p{i:04d}" for i in range(20)])
    pairs = compare(replace(frames, predictions=frames.predictions[~lost]), "x", "y", directions=DIRECTIONS, seed=0)
    by_metric = pairs.set_index("metric")
    assert set(pairs["n_cases"]) == {80}
    assert math.isfinite(by_metric.loc["harrell_c_index", "p"])
    assert math.isnan(by_metric.loc["ibs", "p"])
    assert "different patients" in by_metric.loc["ibs", "reason"]


def test_compare_says_what_is_wrong():
    frames = make_frames({"healnet": 1.0, "mcat": 0.5})
    with pytest.raises(ResultsError, match="did you mean 'healnet'"):
        compare(frames, "haelnet", "mcat", directions=DIRECTIONS, seed=0)
    with pytest.raises(ResultsError, match="no scored dataset"):
        compare(frames, "mcat", "mcat", directions=DIRECTIONS, seed=0)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: replace(f, folds=f.folds.drop(columns="value")), "folds have no column value"),
        (lambda f: replace(f, cells=f.cells[f.cells["model"] != "x"]), "row without cells"),
        (lambda f: replace(f, folds=f.folds.assign(metric="mine")), "metric 'mine'"),
        (lambda f: replace(f, sizes=f.sizes[:0]), "no fold sizes"),
        (lambda f: replace(f, targets=f.targets[1:]), "'p0000' has no stored target"),
        (lambda f: replace(f, targets=pd.concat([f.targets, f.targets[:1]])), "target of case 'p0000' is stored twice"),
        (lambda f: replace(f, predictions=pd.concat([f.predictions, f.predictions[:1]])), "a case is there twice"),
        (lambda f: replace(f, predictions=f.predictions.assign(risk=math.nan)), "a risk is NaN"),
    ],
)
def test_contradictions_are_errors(break_it, message):
    with pytest.raises(ResultsError, match=message):
        table_of(break_it(make_frames({"x": 1.0, "y": 0.5})))


def test_masks_of_a_pattern_cover_the_same_cases():
    frames = make_frames({"x": 1.0}, patterns={"half": 2})
    with pytest.raises(ResultsError, match="masks do not cover the same cases"):
        table_of(replace(frames, predictions=frames.predictions[1:]))


def test_without_predictions_there_are_means_but_no_intervals():
    frames = make_frames({"x": 1.0, "y": 0.0})
    table = table_of(replace(frames, predictions=frames.predictions[:0]))
    assert rows_of(table)["mean"].notna().all()
    assert rows_of(table)["ci_low"].isna().all()
    assert "no intervals: no predictions are stored" in render(table, "md")


def nasty_table():
    return table_of(make_frames({NASTY: 2.0, "plain": 0.0}, datasets=[f"data {NASTY}"]))


class _Text(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.seen = set(), ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.seen += data


def test_nasty_names_in_html():
    parser = _Text()
    parser.feed(render(nasty_table(), "html", title=NASTY, notes={f"data {NASTY}": [NASTY]}))
    assert parser.tags <= {
        "h1",
        "h2",
        "h3",
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "ul",
        "li",
        "strong",
        "sup",
    }
    assert parser.seen.count(" ".join(NASTY.split())) == 4  # title, dataset, model, note


def test_nasty_names_in_markdown():
    text = render(nasty_table(), "md")
    grid = [line for line in text.splitlines() if line.startswith("|")]
    bars = {line.replace("\\|", "").count("|") for line in grid}
    assert len(bars) == 1, "every line of the grid has the same columns"
    assert "<script>" not in text.replace("\\<script>", "")
    assert "](http" not in text


def test_nasty_names_in_latex():
    text = render(nasty_table(), "latex")
    for char in "&%$#_":
        bare = [i for i, c in enumerate(text) if c == char and text[i - 1] != "\\"]
        allowed = {"&": " & ", "$": r"$\pm$"}
        assert all(char in allowed and allowed[char] in text[i - 4 : i + 5] for i in bare), char
    assert text.replace(r"\{", "").count("{") == text.replace(r"\}", "").count("}")
    assert r"\textbackslash{}" in text


def test_csv_reads_back():
    table = nasty_table()
    back = pd.read_csv(io.StringIO(render(table, "csv")), keep_default_na=False, na_values=[""])
    assert next(csv.reader(io.StringIO(render(table, "csv")))) == list(TABLE_COLUMNS)
    assert set(back["model"]) == {NASTY, "plain"}
    assert back["mean"].to_numpy() == pytest.approx(table.rows["mean"].to_numpy())


def test_what_a_reader_needs_to_know_is_there():
    table = table_of(make_frames({"x": 1.0, "y": 0.5}, patterns={"full": 1, "half": 2}))
    text = render(table, "md", title="My suite", notes={"toy": ["an invented cohort"]})
    for needed in (
        "# My suite",
        "protocol clean, 1 x 5 generated folds, unit patient",
        "pattern half",
        "sampling of test patients, models fixed",
        "smallest detectable difference",
        "ddof 1",
        "tied rows may still differ",
        "an invented cohort",
        "±",
    ):
        assert needed in text


def test_the_tidy_table_stands_in_the_order_of_every_other_one():
    """Best first within a set of modalities; the metrics of a row together."""
    table = table_of(make_frames({"x on a": 0.2, "y on a": 1.0, "x on a+b": 1.0, "y on a+b": 0.2}))
    as_read = pd.read_csv(io.StringIO(render(table, "csv")))
    frame = tidy(as_read, DIRECTIONS)
    keys = ["modalities", "model", "metric"]
    assert frame[keys].to_numpy().tolist() == best_first(table.rows, DIRECTIONS)[keys].to_numpy().tolist()
    first = frame.drop_duplicates("modalities").set_index("modalities")["model"]
    assert first.to_dict() == {"a": "y", "a+b": "x"}
