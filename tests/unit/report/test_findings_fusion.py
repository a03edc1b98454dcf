"""Sections below the table: what they say is what the stored risks give by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fusionbench.core.registry import Registry
from fusionbench.report.analysis import Analysis, analyse
from fusionbench.report.document import Section
from fusionbench.report.findings import findings, visible_cases
from fusionbench.report.findings.concordant_pairs import PairShares, pair_shares
from fusionbench.report.findings.estimates import c_draws
from fusionbench.report.findings.fusion import did_fusion_help, uplift, uplift_over
from fusionbench.report.findings.missing import area, missing_modalities
from fusionbench.report.findings.visible_cases import visible_modalities
from fusionbench.report.model import FULL
from fusionbench.report.predictions import FoldPredictions, FollowUp
from fusionbench.report.render import Format, render
from fusionbench.results.frames import Frames
from fusionbench.survival.stats import corrected_t_test, harrell_c, percentile_interval
from tests.unit.stored_results import DIRECTIONS, make_frames

LOCK = {"suite": {"seed": 0}}
NO_PLUGINS = Registry((), {})
RATES = {"full": 1, "rate:0.25": 2, "rate:0.5": 2, "rate:0.75": 2}
FALLING = {"full": 3.0, "rate:0.25": 1.0, "rate:0.5": 0.0, "rate:0.75": 0.0}


def analysed(frames: Frames, draws: int = 200) -> Analysis:
    return analyse(frames, directions=DIRECTIONS, seed=0, draws=draws)


def sections(make: Any, frames: Frames) -> dict[str, Section]:
    return {section.title: section for section in make(analysed(frames), LOCK)}


def lines(section: Section, key: int = 0) -> dict[str, dict[str, str]]:
    """Text by the entry in one column, then by heading."""
    return {line[key].text: dict(zip(section.header, (e.text for e in line), strict=True)) for line in section.lines}


def row(model: str, modalities: str = "a+b") -> tuple[str, str, str, str]:
    return "toy", model, modalities, "base"


def mean_c(frames: Frames, model: str, pattern: str, *, keep: Mapping[str, bool] | None = None) -> float:
    """Mean over folds of the mean over masks of Harrell's c, from nothing but risks and follow-up."""
    targets = frames.targets.set_index("case")
    of = frames.predictions[(frames.predictions["model"] == model) & (frames.predictions["pattern"] == pattern)]
    of = of[of["modalities"] == "a+b"]
    values: dict[int, list[float]] = {}
    for (fold, _), part in of.groupby(["fold", "draw"]):
        part = part[[keep is None or keep[case] for case in part["case"]]]
        known = targets.loc[part["case"]]
        c = harrell_c(known["time"].to_numpy(), known["event"].to_numpy(), part["risk"].to_numpy())
        values.setdefault(int(str(fold)), []).append(c)
    return float(np.mean([np.mean(of_fold) for of_fold in values.values()]))


def test_area_is_the_trapezoid_rule_over_the_range() -> None:
    assert float(area([0, 0.25, 0.5, 0.75], np.array([0.8, 0.7, 0.6, 0.5]))) == pytest.approx(0.65)
    # 0.5 x (0.8 + 0.6) / 2 + 0.25 x (0.6 + 0.5) / 2 = 0.4875, over 0.75
    assert float(area([0, 0.5, 0.75], np.array([0.8, 0.6, 0.5]))) == pytest.approx(0.65)
    assert float(area([0, 0.25, 0.75], np.array([0.8, 0.4, 0.4]))) == pytest.approx((0.15 + 0.2) / 0.75)
    curves = np.array([[0.8, 0.6], [0.6, 0.6], [0.4, 0.6]])
    assert area([0, 0.25, 0.5], curves) == pytest.approx([0.6, 0.6])


def test_where_nobody_is_left_out_the_draws_behind_the_table_are_those_of_the_restriction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    analysis, patterns = analysed(make_frames({"x": FALLING, "y": 2.0}, patterns=RATES, repeats=2)), tuple(RATES)[1:]
    rows = [row("x"), row("y")]
    taken = visible_cases.visible_scores(analysis, "toy", rows, patterns, seed=0)
    monkeypatch.setattr(visible_cases, "_everybody", lambda *_: False)
    drawn = visible_cases.visible_scores(analysis, "toy", rows, patterns, seed=0)
    line = rows[0], patterns[0]
    assert (
        taken.sample.draws[line]
        is visible_cases.bootstrap_of(analysis, rows[0]).draws[line]
        is not drawn.sample.draws[line]
    )
    assert taken.cases == drawn.cases
    for line in (*taken.cases, *map(taken.full_line, taken.cases)):
        assert taken.sample.values[line] == pytest.approx(drawn.sample.values[line], abs=1e-12)
        assert taken.sample.draws[line] == pytest.approx(drawn.sample.draws[line], abs=1e-12)


def test_the_curve_says_c_at_every_rate_its_area_and_where_it_loses() -> None:
    frames = make_frames({"healnet": FALLING, "best-unimodal": 2.0}, patterns=RATES, cases=300)
    section = sections(missing_modalities, frames)["toy: modalities hidden at random"]
    told = lines(section)
    assert section.header == ("model", "modalities", *RATES, "area", "loses from p")
    c = [mean_c(frames, "healnet", pattern) for pattern in RATES]
    for pattern, value in zip(RATES, c, strict=True):
        assert told["healnet"][pattern].startswith(f"{value:.3f} [")
    by_hand = (c[0] / 2 + c[1] + c[2] + c[3] / 2) / 3
    assert told["healnet"]["area"].startswith(f"{by_hand:.3f} [")
    assert (told["healnet"]["loses from p"], told["best-unimodal"]["loses from p"]) == ("0.25", "-")
    told_rates = "0.000 under full, 0.250 under rate:0.25, 0.500 under rate:0.5, 0.750 under rate:0.75"
    assert section.notes == (f"share of modalities not seen, hidden or never there, of a+b: {told_rates}",)


def test_intervals_of_a_curve_come_from_the_draws_of_the_table() -> None:
    frames = make_frames({"healnet": FALLING, "best-unimodal": 2.0}, patterns=RATES)
    analysis = analysed(frames)
    draws = analysis.bootstraps["toy", "base"][1].draws
    curve = np.stack([draws[row("healnet"), pattern] for pattern in RATES])
    low, high = percentile_interval((curve[0] / 2 + curve[1] + curve[2] + curve[3] / 2) / 3)
    (section,) = (s for s in missing_modalities(analysis, LOCK) if "random" in s.title)
    assert lines(section)["healnet"]["area"].endswith(f" [{low:.3f}, {high:.3f}]")


def test_what_never_loses_says_none_and_without_a_reference_nothing() -> None:
    frames = make_frames({"healnet": 3.0, "best-unimodal": 0.5}, patterns=RATES)
    told = sections(missing_modalities, frames)["toy: modalities hidden at random"]
    assert lines(told)["healnet"]["loses from p"] == "none"
    alone = sections(missing_modalities, make_frames({"healnet": 3.0}, patterns=RATES))
    section = alone["toy: modalities hidden at random"]
    assert lines(section)["healnet"]["loses from p"] == "-"
    assert "no row best-unimodal on a+b: nothing to lose against" in section.notes


def test_a_model_that_loses_with_everything_there_loses_from_0() -> None:
    frames = make_frames({"healnet": 0.0, "best-unimodal": 3.0}, patterns=RATES)
    told = sections(missing_modalities, frames)["toy: modalities hidden at random"]
    assert lines(told)["healnet"]["loses from p"] == "0"


PATTERNS = {"full": 1, "half": 3, "only:a": 1, "drop:a": 1}


def test_patterns_are_compared_with_full_on_the_patients_that_they_leave_something_of() -> None:
    frames = make_frames({"healnet": 1.5}, patterns=PATTERNS, having=("a+b", "b", "a", ""), cases=200)
    section = sections(missing_modalities, frames)["toy: what is left"]
    told = lines(section, key=2)
    modalities = dict(zip(frames.targets["case"], frames.targets["modalities"], strict=True))
    left = {"half": ("a+b", "b", "a"), "only:a": ("a+b", "a"), "drop:a": ("a+b", "b")}
    assert list(told) == list(left)
    for pattern, kinds in left.items():
        keep = {case: of in kinds for case, of in modalities.items()}
        c, full = (mean_c(frames, "healnet", p, keep=keep) for p in (pattern, "full"))
        assert told[pattern]["n_cases"] == str(50 * len(kinds))
        assert told[pattern]["c"].startswith(f"{c:.3f} [")
        assert told[pattern]["full"].startswith(f"{full:.3f} [")
        assert told[pattern]["difference"].startswith(f"{c - full:+.3f} [")
    assert section.notes == ()


def test_where_everybody_has_everything_the_intervals_are_those_of_the_table() -> None:
    frames = make_frames({"healnet": 1.5, "x": 0.5}, patterns=PATTERNS)
    analysis = analysed(frames)
    (section,) = (s for s in missing_modalities(analysis, LOCK) if s.title == "toy: what is left")
    line = next(of for of in section.lines if (of[0].text, of[2].text) == ("healnet", "half"))
    of_table = analysis.table.rows.set_index(["model", "pattern", "metric"]).loc[("healnet", "half", "harrell_c_index")]
    assert line[4].text == f"{of_table['mean']:.3f} [{of_table['ci_low']:.3f}, {of_table['ci_high']:.3f}]"


def test_results_that_do_not_know_who_has_what_compare_everybody_and_say_so() -> None:
    frames = make_frames({"healnet": 1.5}, patterns=PATTERNS, having=("a+b", "b"))
    old = replace(
        frames, targets=frames.targets.drop(columns="modalities"), folds=frames.folds.drop(columns="realised")
    )
    section = sections(missing_modalities, old)["toy: what is left"]
    assert {of["n_cases"] for of in lines(section, key=2).values()} == {"100"}
    assert section.notes == (
        "which modalities a patient has is not stored with these results: all patients are compared",
    )


@pytest.mark.parametrize(
    ("pattern", "names", "left"),
    [
        ("half", "ab", "ab"),
        ("rate:0.5", "ab", "ab"),
        ("only:a", "ab", "a"),
        ("drop:a", "abc", "bc"),
        ("only:a+b", "abc", "ab"),
        ("drop:a+b", "abc", "c"),
    ],
)
def test_what_a_pattern_leaves(pattern: str, names: str, left: str) -> None:
    assert visible_modalities(pattern, tuple(names)) == frozenset(left)


def test_one_modality_a_patient_is_compared_with_the_models_of_what_is_there() -> None:
    frames = make_frames(
        {"healnet": 2.0, "xor-unimodal": 0.5}, patterns={"full": 1, "half": 3}, having=("a+b", "a", ""), cases=150
    )
    section = sections(missing_modalities, frames)["toy: one modality a patient"]
    keep = {c: bool(of) for c, of in zip(frames.targets["case"], frames.targets["modalities"], strict=True)}
    c, xor = (mean_c(frames, model, "half", keep=keep) for model in ("healnet", "xor-unimodal"))
    (line,) = lines(section).values()
    assert line["n_cases"] == "100"
    assert line["c"].startswith(f"{c:.3f} [")
    assert line["xor-unimodal"].startswith(f"{xor:.3f} [")
    assert line["difference"].startswith(f"{c - xor:+.3f} [")
    assert 0 < float(line["p"]) < 1


FUSED = {"healnet": 2.0, "best-unimodal": 1.0, "cox on a": 1.0, "cox on b": 0.6, "snn on a": 1.4, "cox": 1.2}


def test_fusion_is_measured_against_the_choice_of_validation_and_of_the_test_cases() -> None:
    frames = make_frames(FUSED, cases=300)
    section = sections(did_fusion_help, frames)["toy"]
    told = lines(section)
    assert list(told) == ["healnet", "cox"]
    values = frames.folds[frames.folds["metric"] == "harrell_c_index"]
    by_fold = {key: of.set_index("fold")["value"] for key, of in values.groupby(["model", "modalities"], sort=False)}
    healnet, chosen, best = (by_fold[k] for k in (("healnet", "a+b"), ("best-unimodal", "a+b"), ("snn", "a")))
    assert best.mean() == max(of.mean() for (_, names), of in by_fold.items() if names != "a+b")
    line = told["healnet"]
    assert line["c"].startswith(f"{healnet.mean():.3f} [")
    assert line["to best uni-modal"].startswith(f"{(healnet - chosen).mean():+.3f} [")
    assert line["to test-best uni-modal"].startswith(f"{(healnet - best).mean():+.3f} [")
    assert line["p"] == f"{corrected_t_test(healnet - chosen, 60 / 240).p:.3f}"
    assert line["uplift"] == f"{100 * (healnet.mean() / chosen.mean() - 1):+.1f} %"
    assert line["its uplift"] == f"{100 * (healnet.mean() / best.mean() - 1):+.1f} %"
    assert section.notes[0].startswith(f"a+b: best uni-modal {chosen.mean():.3f} [")
    assert f"test-best snn on a {best.mean():.3f} [" in section.notes[0]


def test_uplift() -> None:
    assert uplift(0.66, 0.6) == pytest.approx(10.0)
    assert uplift(0.6, 0.66) == pytest.approx(-100 / 11)
    assert math.isnan(uplift(0.6, 0.0))


def test_uplift_over_a_reference_that_is_zero_in_some_draw_has_no_interval() -> None:
    """A draw without the one patient who is ordered rightly has a c of zero."""
    frames = make_frames({"healnet": 3.0, "snn on a": 1.0}, folds=1, cases=40)
    time = frames.targets.set_index("case")["time"]
    first = frames.targets.loc[frames.targets["event"].astype(bool), "time"].min()
    wrong = frames.predictions["case"].map(time.where(time > first, time.max() + 1)).astype(float)
    of_snn = frames.predictions["model"] == "snn"
    predictions = frames.predictions.assign(risk=frames.predictions["risk"].where(~of_snn, wrong))
    told = analysed(replace(frames, predictions=predictions))
    assert (c_draws(told, (row("snn", "a"), FULL)) == 0).any()
    gain = uplift_over(told, row("healnet"), row("snn", "a"))
    assert math.isfinite(gain.value)
    assert math.isnan(gain.low)
    many = analysed(make_frames({"healnet": 3.0, "snn on a": 1.0}, folds=1))
    assert math.isfinite(uplift_over(many, row("healnet"), row("snn", "a")).low)


def test_intervals_of_a_difference_are_paired() -> None:
    frames = make_frames(FUSED, cases=300)
    analysis = analysed(frames)
    draws = analysis.bootstraps["toy", "base"][1].draws
    low, high = percentile_interval(draws[row("healnet"), "full"] - draws[row("best-unimodal"), "full"])
    (section,) = (s for s in did_fusion_help(analysis, LOCK) if s.title == "toy")
    assert lines(section)["healnet"]["to best uni-modal"].endswith(f"[{low:+.3f}, {high:+.3f}]")


def test_without_a_choice_by_validation_the_test_best_stands_alone() -> None:
    section = sections(did_fusion_help, make_frames({"healnet": 2.0, "cox on a": 1.0}))["toy"]
    assert lines(section)["healnet"]["to best uni-modal"] == "-"
    assert lines(section)["healnet"]["to test-best uni-modal"].startswith("+")
    assert "no row best-unimodal, so none is chosen by validation; test-best cox on a" in section.notes[0]


def test_a_shuffled_modality_costs_what_c_falls_by() -> None:
    signals = {"full": 2.0, "shuffle:a": 0.2, "shuffle:b": 2.0}
    frames = make_frames(
        {"healnet": signals, "best-unimodal": 1.0}, patterns={"full": 1, "shuffle:a": 4, "shuffle:b": 4}, cases=300
    )
    section = sections(did_fusion_help, frames)["toy: one modality shuffled"]
    (line,) = lines(section).values()
    full = mean_c(frames, "healnet", "full")
    for name in "ab":
        assert line[name].startswith(f"{full - mean_c(frames, 'healnet', f'shuffle:{name}'):+.3f} [")
    assert section.header == ("model", "modalities", "c", "a", "b")
    assert line["a"].startswith("+")
    assert "[+" in line["a"], "the interval of a real loss lies above 0"


def four(*risk: float) -> dict[tuple[int, int], FoldPredictions]:
    """A row's risks of four cases in one fold."""
    line = (row("x"), "full")
    return {(0, 0): FoldPredictions(line, (0, 0), np.arange(4), np.array([[risk]], dtype=np.float64))}


TIME = FollowUp("toy", ("p", "q", "r", "s"), np.array([1.0, 2.0, 3.0, 4.0]), np.array([True] * 4), np.arange(4), "toy")
ALL = np.array([True] * 4)


def test_pairs_by_hand() -> None:
    """Six pairs, the earlier one first: pq pr ps qr qs rs.

    The first row ranks right all but rs; the second all that begin with p, and rs; the third pq, qr and rs only.
    """
    first, second, third = four(4, 3, 1, 2), four(4, 1, 3, 2), four(3, 2, 4, 3.5)
    shares = pair_shares(TIME, ALL, first, second, third)
    assert shares is not None
    assert (shares.both, shares.first, shares.second, shares.neither) == pytest.approx((3 / 6, 2 / 6, 1 / 6, 0))
    # third: p 3, q 2, r 4, s 3.5: right are pq and rs; of both (pq pr ps) one in three, of one (qr qs rs) one in three
    assert shares.right[0][:2] == pytest.approx((1 / 3, 1 / 3))
    assert np.isnan(shares.right[0][2])


def test_tied_risks_count_one_half() -> None:
    shares = pair_shares(
        TIME, np.array([True, True, False, False]), four(1, 1, 0, 0), four(2, 1, 0, 0), four(2, 1, 0, 0)
    )
    assert shares == PairShares(0.5, 0.0, 0.5, 0.0, ((1.0, 1.0, pytest.approx(float("nan"), nan_ok=True)),))


def test_shares_are_means_over_folds_and_cases_that_count() -> None:
    one, other = dict(four(4, 3, 2, 1)), dict(four(4, 3, 2, 1))
    one[0, 1] = replace(one[0, 0], fold=(0, 1))
    other[0, 1] = replace(other[0, 0], fold=(0, 1), scores=-other[0, 0].scores)
    shares = pair_shares(TIME, ALL, one, other)
    assert shares == PairShares(0.5, 0.5, 0.0, 0.0)
    assert pair_shares(TIME, np.array([True, False, False, False]), one, other) is None


def test_pairs_stand_below_with_every_fusion_model() -> None:
    frames = make_frames(FUSED, cases=300, having=("a+b", "a+b", "a"))
    section = sections(did_fusion_help, frames)["toy: pairs ranked right, a+b"]
    assert section.header == ("first", "second", "both", "only first", "only second", "neither", "healnet", "cox")
    (line,) = lines(section).values()
    assert sum(float(line[k].rstrip("%")) for k in section.header[2:6]) == pytest.approx(100, abs=0.2)
    assert "cox on either modality alone" in section.text
    both, one, neither = (int(part.rstrip("%")) for part in line["healnet"].split(" / "))
    assert both > one > neither


@pytest.fixture(scope="module")
def everything() -> Analysis:
    patterns = {**RATES, **PATTERNS, "shuffle:a": 2, "shuffle:b": 2}
    frames = make_frames({**FUSED, "xor-unimodal": 0.7}, patterns=patterns, variants=("base", "rates"))
    return analysed(frames, draws=50)


@pytest.mark.parametrize("fmt", ["md", "latex", "html"])
def test_sections_are_written_in_every_format(everything: Analysis, fmt: Format) -> None:
    below = findings(everything, LOCK, NO_PLUGINS)
    text = render(everything.table, fmt, findings=below)
    for needed in ("Did fusion help?", "Missing modalities", "what is left", "one modality shuffled", "pairs ranked"):
        assert needed in text
    assert "nan" not in text.lower()
    assert any("variant" in section.header for section in below)


def test_a_plugin_brings_sections_and_one_that_fails_is_a_line() -> None:
    def mine(analysis: Analysis, lock: Any) -> Any:
        yield Section(2, "Mine", text=f"seed {lock['suite']['seed']}")

    def failing(analysis: Analysis, lock: Any) -> Any:
        yield Section(2, "Half of it")
        raise KeyError("no such\nrow")

    analysis = analysed(make_frames({"cox on a": 1.0, "snn on a": 0.5}))
    registry = Registry((), {"findings": {"failing": (failing, "theirs"), "mine": (mine, "ours")}})
    broken, whole = findings(analysis, LOCK, registry)
    assert broken.notes == (r"plugin 'theirs' failed to write this section: KeyError: 'no such\nrow'",)
    assert broken.title == "failing"
    assert whole.text == "seed 0"


def test_one_modality_alone_has_no_sections() -> None:
    assert findings(analysed(make_frames({"cox on a": 1.0, "snn on a": 0.5})), LOCK, NO_PLUGINS) == []


def test_without_predictions_there_are_numbers_without_intervals() -> None:
    frames = make_frames({**FUSED, "xor-unimodal": 0.7}, patterns={**RATES, **PATTERNS})
    below = {
        s.title: s for s in findings(analysed(replace(frames, predictions=frames.predictions[:0])), LOCK, NO_PLUGINS)
    }
    assert "[" not in lines(below["toy: modalities hidden at random"])["healnet"]["area"]
    assert lines(below["toy: modalities hidden at random"])["healnet"]["loses from p"] == "no interval"
    assert "toy: pairs ranked right, a+b" not in below


def test_a_failed_fold_leaves_the_others_and_no_interval_of_what_is_not_paired() -> None:
    frames = make_frames({**FUSED, "xor-unimodal": 0.7}, patterns={**PATTERNS, "shuffle:a": 2}, folds=3)
    parts = {"folds": frames.folds, "predictions": frames.predictions}
    lost = {name: of[~((of["model"] == "healnet") & (of["fold"] == 0))] for name, of in parts.items()}
    gone = (frames.cells["model"] == "healnet") & (frames.cells["fold"] == 0)
    cells = frames.cells.assign(status=np.where(gone, "failed", "ok"))
    below = {s.title: s for s in findings(analysed(replace(frames, cells=cells, **lost)), LOCK, NO_PLUGINS)}
    assert "toy: pairs ranked right, a+b" in below
    c = frames.folds[(frames.folds["metric"] == "harrell_c_index") & (frames.folds["pattern"] == "full")]
    of = c[(c["modalities"] == "a+b") & (c["fold"] > 0)].groupby("model")["value"].mean()
    line = lines(below["toy"])["healnet"]
    assert line["to best uni-modal"] == f"{of['healnet'] - of['best-unimodal']:+.3f} (on 2 of 3 folds)"
    assert line["c"].endswith("(2 of 3 folds)")
    assert (line["p_holm"], lines(below["toy"])["cox"]["p_holm"]) == ("-", lines(below["toy"])["cox"]["p"])
    assert line["uplift"] == f"{100 * (of['healnet'] / of['best-unimodal'] - 1):+.1f} %"
    assert "[" not in lines(below["toy: one modality a patient"])["healnet"]["difference"]
    assert "[" in lines(below["toy: one modality a patient"])["cox"]["difference"]
    assert "[" in lines(below["toy: one modality shuffled"])["healnet"]["a"], "its own patterns have the same folds"


def test_joined_vectors_are_one_modality() -> None:
    """`cox on a+b` of a protocol that joins a and b is a model of one modality."""
    frames = make_frames({"healnet on a+b+c": 2.0, "cox on a+b": 1.4, "cox on c": 1.0}, having=("a+c", "b+c", "a+b"))
    inputs = frames.cells["modalities"].map({"a+b+c": 2, "a+b": 1, "c": 1})
    below = sections(did_fusion_help, replace(frames, cells=frames.cells.assign(n_inputs=inputs)))
    assert list(lines(below["toy"])) == ["healnet"]
    assert "test-best cox on a+b" in below["toy"].notes[0]
    (line,) = below["toy: pairs ranked right, a+b+c"].lines
    assert [entry.text for entry in line[:2]] == ["a+b", "c"]


def test_results_that_do_not_know_what_was_joined_count_names() -> None:
    frames = make_frames(FUSED)
    old = sections(did_fusion_help, replace(frames, cells=frames.cells.drop(columns="n_inputs")))
    assert list(old) == list(sections(did_fusion_help, frames))
