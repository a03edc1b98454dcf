"""Sections below a table: what variants change, training curves, published numbers and claims, counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fusionbench_healnet_paper.claims import Verdict, judge, least_amount
from fusionbench_healnet_paper.counts import agreeing, counts
from fusionbench_healnet_paper.curves import curves, training_summaries
from fusionbench_healnet_paper.deviations import deviations
from fusionbench_healnet_paper.reproduction import reproduction
from fusionbench_healnet_paper.training_claims import pitman_morgan
from scipy import stats

from fusionbench.core.protocol import AS_PUBLISHED, AS_PUBLISHED_TRAINING, Protocol, TrainRecipe
from fusionbench.core.registry import discover
from fusionbench.report.analysis import Analysis, analyse
from fusionbench.report.document import Entry, Section
from fusionbench.report.findings import findings
from fusionbench.report.findings.estimates import compare_rows, relative_gain, row_means
from fusionbench.report.findings.select_rows import matching_rows
from fusionbench.report.findings.variants import variant_effects
from fusionbench.report.render import render
from fusionbench.results.frames import Frames
from fusionbench.survival.stats import percentile_interval
from tests.unit.stored_results import DIRECTIONS, make_frames, on_other_folds, with_curves


def analysed(frames: Frames) -> Analysis:
    return analyse(frames, directions=DIRECTIONS, seed=0, draws=200)


def lock_of(variants: Sequence[Mapping[str, Any]] = (), **more: Any) -> dict[str, Any]:
    suite = {
        "name": "mine",
        "base": True,
        "datasets": ["toy"],
        "protocol": Protocol().model_dump(exclude_none=True),
        "train": TrainRecipe().model_dump(exclude_none=True),
        "variant": list(variants),
    }
    return {"suite": suite, "datasets": {}, **more}


def texts(section: Section) -> list[tuple[str, ...]]:
    return [tuple(entry.text for entry in line) for line in section.lines]


def named(sections: Sequence[Section], title: str) -> Section:
    return next(s for s in sections if s.title.startswith(title))


def test_a_suite_without_variants_and_published_numbers_has_nothing_to_say() -> None:
    assert findings(analysed(make_frames({"x": 1.0, "y": 0.0})), lock_of(), discover()) == []


def test_what_is_the_same_in_every_line_is_said_once() -> None:
    lines = [("x", "a+b", "base"), ("y", "a+b", "last")]
    grid = tuple(tuple(map(Entry, line)) for line in lines)
    section = Section(2, "t", "Of two rows.", ("model", "modalities", "variant"), grid)
    folded = section.folded("modalities", "variant")
    assert folded.text == "Of two rows. modalities: a+b"
    assert folded.header == ("model", "variant")
    assert texts(folded) == [("x", "base"), ("y", "last")]
    assert replace(section, lines=grid[:1]).folded("modalities") == replace(section, lines=grid[:1])
    assert section.folded("model") == section


SPLIT = {"name": "split", "protocol": {"fold_source": "random"}}
LAST = {"name": "last", "train": {"restore_best": False}}


def test_variants_are_paired_where_they_share_test_cases() -> None:
    made = make_frames({"x": 1.5, "y": 0.3}, variants=("base", "last", "split"))
    analysis = analysed(on_other_folds(made, "split"))
    (section,) = variant_effects(analysis, lock_of([LAST, SPLIT]))
    lines = {(line[0], line[2]): line for line in texts(section)}
    assert {key: line[5] for key, line in lines.items()} == {
        ("x", "last"): "paired",
        ("y", "last"): "paired",
        ("x", "split"): "unpaired",
        ("y", "split"): "unpaired",
    }
    assert lines["x", "last"][6] == "restore_best=false"
    assert lines["x", "split"][6] == "fold_source=random"
    rows = {(r.model, r.variant): r for r in row_means(analysis)}
    gap = rows["x", "last"].mean - rows["x", "base"].mean
    low, high = percentile_interval(rows["x", "last"].draws - rows["x", "base"].draws)
    assert lines["x", "last"][4] == f"{gap:+.3f} [{low:+.3f}, {high:+.3f}]"


def test_a_name_stands_for_the_variant_of_its_dataset() -> None:
    made = make_frames({"x": 1.0, "y": 0.0}, datasets=("one", "two[n=1]"), variants=("base", "v"))
    variants = [{"name": "v", "train": {"l1": n}, "only": {"datasets": [d]}} for n, d in ((1, "one"), (2, "two"))]
    sections = list(variant_effects(analysed(made), lock_of(variants)))
    assert [texts(section)[0][-1] for section in sections] == ["l1=1", "l1=2"]


def test_unpaired_draws_are_independent() -> None:
    """The variance of an unpaired difference is the sum of the variances."""
    frames = on_other_folds(make_frames({"x": 1.0, "y": 0.0}, variants=("base", "split")), "split")
    analysis = analyse(frames, directions=DIRECTIONS, seed=0, draws=2000)
    one, other = (r for r in row_means(analysis) if r.model == "x")
    outcome = compare_rows(one, other)
    assert one.draws is not None
    assert other.draws is not None
    expected = 2 * 1.96 * np.sqrt(one.draws.var() + other.draws.var())
    assert not outcome.paired
    assert outcome.high - outcome.low == pytest.approx(expected, rel=0.1)


def test_a_variant_that_sets_options_is_held_against_the_model_of_that_name() -> None:
    made = make_frames({"x": 1.5, "x[a=1]": 0.3, "z": 0.0}, variants=("base", "v"))
    keep = {"base": {"x", "z"}, "v": {"x[a=1]"}}

    def part(frame: Any) -> Any:
        return frame[[m in keep[v] for m, v in zip(frame["model"], frame["variant"], strict=True)]]

    frames = replace(made, **{name: part(getattr(made, name)) for name in ("cells", "folds", "predictions")})
    (section,) = variant_effects(analysed(frames), lock_of([{"name": "v", "model": {"x": {"a": 1}}}]))
    ((model, _, variant, _, difference, _, sets),) = texts(section)
    assert (model, variant, sets) == ("x[a=1]", "v", "x.a=1")
    assert difference.startswith("-")
    assert section.lines[0][4].strong


FOLD = ([3.0, 2.0, 1.0, 1.5, 2.0], [0.5, 0.6, 0.7, 0.65, 0.6])
NOISY = ([3.0, 2.0, 1.0, 1.5, 4.0], [0.7, 0.6, 0.5, 0.65, 0.6])


def trained_frames(**variants: Sequence[Any]) -> Frames:
    frames = make_frames({"x": 1.0}, variants=tuple(variants), folds=2)
    return with_curves(frames, variants)


def test_courses_by_hand() -> None:
    frames = trained_frames(base=[FOLD, NOISY])
    (course,) = training_summaries(frames.history)
    assert course.agreement == pytest.approx([-1.0, float(stats.spearmanr(*NOISY).statistic)])
    assert list(course.lowest) == [3, 3]
    assert course.rise == pytest.approx([100.0, 300.0])


def test_an_undefined_agreement_is_left_out_and_a_short_curve_is_no_fault() -> None:
    flat = ([2.0, 1.0, 3.0], [0.5, 0.5, 0.5])
    (course,) = training_summaries(trained_frames(base=[FOLD, flat]).history)
    assert course.agreement[0] == pytest.approx(-1)
    assert np.isnan(course.agreement[1])
    assert list(course.lowest) == [3, 2]


def test_mean_curves_end_where_the_first_fold_stops() -> None:
    short = tuple(values[:3] for values in FOLD)
    frames = trained_frames(base=[FOLD, short])
    mean = named(list(curves(analysed(frames), lock_of([LAST]))), "Mean curves")
    assert texts(mean)[0][4:] == ("3.000", "2.000", "1.000", "-", "-")


def test_curves_as_numbers() -> None:
    frames = trained_frames(base=[FOLD, NOISY], last=[FOLD, FOLD])
    sections = list(curves(analysed(frames), lock_of([LAST])))
    head = dict(zip(sections[0].header, texts(sections[0])[1], strict=True))
    assert head["variant"] == "last"
    assert (head["folds"], head["agreement"]) == ("2", "-1.00 ± 0.00")
    assert (head["lowest at epoch"], head["rise after, %"]) == ("3.0 ± 0.0", "100.0 ± 0.0")
    mean = named(sections, "Mean curves")
    assert mean.header[4:] == ("1", "2", "3", "4", "5")
    assert ("x", "a+b", "base", "val", "3.000", "2.000", "1.000", "1.500", "3.000") in texts(mean)
    assert ("x", "a+b", "base", "train", "1.500", "1.000", "0.500", "0.750", "1.500") in texts(mean)
    assert list(curves(analysed(frames), lock_of([SPLIT]))) == []


COLUMNS = ("dataset", "model", "modalities", "pattern", "metric", "mean", "sd")


def reference(*rows: tuple[str, ...]) -> dict[str, Any]:
    return {"notes": ["from a paper"], "rows": [dict(zip(COLUMNS, row, strict=True)) for row in rows]}


def test_published_numbers_beside_ours() -> None:
    analysis = analysed(make_frames({"x": 1.0, "y": 0.0}))
    mine = {r.model: r for r in row_means(analysis)}
    stored = reference(
        ("toy", "x", "a+b", "full", "harrell_c_index", f"{mine['x'].mean:.3f}", "0.02"),
        ("toy", "y", "a+b", "full", "harrell_c_index", "0.99", ""),
        ("toy", "z", "a+b", "full", "harrell_c_index", "0.6", "0.1"),
        ("toy", "x", "a", "full", "harrell_c_index", "0.6", "0.1"),
        ("toy", "x", "a+b", "full", "ibs", "0.2", "0.1"),
    )
    card = named(list(reproduction(analysis, lock_of(reference=stored))), "Published numbers")
    assert card.text.startswith("3 of 5 published rows were run")
    assert card.notes == ("from a paper",)
    lines = [dict(zip(card.header, line, strict=True)) for line in texts(card)]
    assert [line["inside interval"] for line in lines] == ["yes", "no", "-", "-", "no interval"]
    assert [line["here"] for line in lines][2:4] == ["not run", "not run"]
    assert lines[1]["difference"] == f"{mine['y'].mean - 0.99:+.3f}"
    assert lines[0]["published"].endswith("± 0.020")
    assert "variant" not in card.header


def test_a_row_with_missing_folds_says_so() -> None:
    made = make_frames({"x": 1.0, "y": 0.0})
    gone = made.cells["fold"].isin([3, 4]) & (made.cells["model"] == "x")
    cells = made.cells.assign(status=made.cells["status"].where(~gone, "missing"))
    parts = {
        n: f[~(f["fold"].isin([3, 4]) & (f["model"] == "x"))]
        for n, f in (("folds", made.folds), ("predictions", made.predictions))
    }
    stored = reference(("toy", "x", "a+b", "full", "harrell_c_index", "0.6", ""))
    card = next(reproduction(analysed(replace(made, cells=cells, **parts)), lock_of(reference=stored)))
    assert texts(card)[0][4].endswith("(3 of 5 folds)")


def test_published_names_stand_for_rows_with_options() -> None:
    made = make_frames({"x": 1.0, "x[a=1]": 1.0, "y[b=2]": 0.5}, datasets=("toy[image=dir]", "toy"))
    rows = row_means(analysed(made))
    assert {r.row[:2] for r in matching_rows(rows, "toy", "x", "a+b")} == {("toy[image=dir]", "x"), ("toy", "x")}
    assert {r.row[1] for r in matching_rows(rows, "toy", "y", "a+b")} == {"y[b=2]"}
    assert {r.row[0] for r in matching_rows(rows, "toy[image=dir]", "x", "a+b")} == {"toy[image=dir]"}
    assert matching_rows(rows, "toy", "x", "a") == []


CLAIM = dict.fromkeys(
    (
        "id",
        "where",
        "claim",
        "number",
        "checked_by",
        "kind",
        "datasets",
        "model",
        "modalities",
        "pattern",
        "variant",
        "against",
        "threshold",
    ),
    "",
)


def claim(kind: str, **more: str) -> dict[str, str]:
    usual = {"datasets": "toy", "model": "x", "modalities": "a+b", "pattern": "full", "checked_by": "mine"}
    return {**CLAIM, **usual, "id": "c1", "kind": kind, **more}


def test_a_gain_is_over_the_best_and_rests_on_its_interval() -> None:
    analysis = analysed(make_frames({"x": 2.0, "y": 0.2, "z": 0.0}, cases=300))
    rows = {r.model: r for r in row_means(analysis)}
    best = max(rows["y"], rows["z"], key=lambda r: r.mean)
    found = judge(claim("gain-over-best", against="y z"), analysis, lock_of())
    expected = compare_rows(rows["x"], best, relative_gain)
    assert expected.value == pytest.approx(100 * (rows["x"].mean / best.mean - 1))
    assert found.verdict == "holds"
    assert found.ours == f"toy {expected.text(signed=True, digits=1, unit=' %')} over {best.model} on a+b"
    turned = judge(claim("gain-over-best", model="z", against="x"), analysis, lock_of())
    assert turned.verdict == "does not hold"
    level = judge(claim("gain-over-best", model="y", against="z"), analysis, lock_of())
    assert level.verdict == "undecided"


def test_a_claim_of_an_amount_is_judged_by_the_amount() -> None:
    """A gain that is there but smaller than claimed does not hold, one whose interval holds the amount is undecided."""
    analysis = analysed(make_frames({"x": 2.0, "y": 0.2}, cases=300))
    rows = {r.model: r for r in row_means(analysis)}
    gain = compare_rows(rows["x"], rows["y"], relative_gain)
    assert 1 < gain.low < gain.value < gain.high
    sign = claim("gain-over-best", against="y")
    amounts = {"": "holds", f"{gain.low - 1:.0f}": "holds", f"{gain.value:.0f}": "undecided"}
    amounts |= {f"{gain.high + 1:.0f}": "does not hold", "-5": "holds"}
    assert len(amounts) == 5
    for amount, verdict in amounts.items():
        found = judge({**sign, "threshold": amount}, analysis, lock_of())
        assert found.verdict == verdict, amount
        assert found.ours.endswith(f", claimed {amount} %" if amount else " on a+b")


@pytest.mark.parametrize(("published", "least"), [("7", 6.5), ("4.5", 4.45), ("10", 9.5), ("5.90", 5.895), ("", 0.0)])
def test_an_amount_is_as_it_is_rounded(published: str, least: float) -> None:
    assert least_amount(published) == pytest.approx(least, abs=1e-12)


def test_uplift_is_over_models_on_one_modality() -> None:
    frames = make_frames(
        {"x": 2.0, "x-alone": 0.0, "u": 0.1}, modalities={"x-alone": "a", "u": "b"}, names={"x-alone": "x"}, cases=300
    )
    found = judge(claim("gain-over-best", against="x@a u@b"), analysed(frames), lock_of())
    assert found.verdict == "holds"
    assert " on a" in found.ours or " on b" in found.ours


def test_claims_of_several_cohorts() -> None:
    analysis = analysed(make_frames({"x": 2.0, "y": 0.0}, datasets=("one", "two"), cases=200))
    both = claim("gain-over-best", datasets="one two", against="y")
    assert judge(both, analysis, lock_of()).verdict == "holds"
    assert judge({**both, "datasets": "one two three"}, analysis, lock_of()).verdict == "undecided: 1 not run"
    assert judge({**both, "datasets": "three"}, analysis, lock_of()).verdict == "not run"
    half = claim("better-under-pattern", datasets="one two three", against="y", threshold="2")
    assert judge(half, analysis, lock_of()).verdict == "holds"
    assert judge({**half, "pattern": "half"}, analysis, lock_of()).verdict == "not run"


def mean_gain(**more: str) -> dict[str, str]:
    return claim("mean-gain-over-best", datasets="one two", against="y z", **more)


def test_a_mean_gain_is_over_the_best_of_each_cohort() -> None:
    made = make_frames({"x": 2.0, "y": 0.2, "z": 0.0}, datasets=("one", "two[n=1]"), cases=300)
    analysis = analysed(made)
    rows = {(r.dataset, r.model): r for r in row_means(analysis)}
    bests = {name: max((rows[name, m] for m in "yz"), key=lambda r: r.mean) for name in ("one", "two")}
    gains = [relative_gain(rows[name, "x"].mean, best.mean) for name, best in bests.items()]
    draws = [relative_gain(rows[name, "x"].draws, best.draws) for name, best in bests.items()]
    low, high = percentile_interval(np.mean(draws, axis=0))
    told = f"mean of 2 cohorts {np.mean(gains):+.1f} % [{low:+.1f}, {high:+.1f}]"
    assert judge(mean_gain(), analysis, lock_of()) == Verdict(told, "holds")
    for amount, verdict in ((low - 1, "holds"), (np.mean(gains), "undecided"), (high + 1, "does not hold")):
        found = judge(mean_gain(threshold=f"{amount:.1f}"), analysis, lock_of())
        assert found == Verdict(f"{told}, claimed {amount:.1f} %", verdict)
    # cohorts have other patients: the variance of the mean is the sum of theirs over four
    assert np.var(np.mean(draws, axis=0)) == pytest.approx(sum(map(np.var, draws)) / 4, rel=0.3)


def test_a_mean_gain_is_open_where_a_cohort_or_a_baseline_is_absent_or_double() -> None:
    skill = {"x": 2.0, "y": 0.2, "z": 0.0}
    one = analysed(make_frames(skill, datasets=("one",), cases=200))
    found = judge(mean_gain(), one, lock_of())
    assert found.verdict == "undecided"
    assert found.ours.startswith("mean of 1 of 2 cohorts +")
    assert found.ours.endswith(" (two not run)")
    no_z = analysed(make_frames({"x": 2.0, "y": 0.2}, datasets=("one", "two"), cases=200))
    assert judge(mean_gain(), no_z, lock_of()) == Verdict("-", "not run")
    double = analysed(make_frames(skill, datasets=("one", "two[n=1]", "two[n=2]"), cases=200))
    found = judge(mean_gain(), double, lock_of())
    assert (found.verdict, found.ours.endswith(" (two has 2 rows)")) == ("undecided", True)


def test_a_mean_gain_has_a_part_for_each_variant() -> None:
    made = make_frames({"x": 2.0, "y": 0.2, "z": 0.0}, datasets=("one", "two"), variants=("base", "v"), cases=200)
    found = judge(mean_gain(), analysed(made), lock_of())
    assert found.verdict == "holds"
    first, second = found.ours.split("; ")
    assert first.startswith("mean of 2 cohorts (base) +")
    assert second.startswith("mean of 2 cohorts (v) +")


def test_a_mean_gain_of_a_row_that_lacks_a_fold_is_open() -> None:
    made = make_frames({"x": 2.0, "y": 0.2, "z": 0.0}, datasets=("one", "two"), cases=200)
    folds = made.folds.copy()
    gone = (folds["fold"] == 4) & (folds["model"] == "x") & (folds["dataset"] == "two")
    folds.loc[gone, ["value", "reason"]] = [np.nan, "no pair"]
    found = judge(mean_gain(), analysed(replace(made, folds=folds)), lock_of())
    assert found.verdict == "undecided"
    assert "[" not in found.ours


def test_a_claim_is_open_while_a_baseline_is_not_run() -> None:
    analysis = analysed(make_frames({"x": 2.0, "y": 0.0}, cases=200))
    found = judge(claim("gain-over-best", against="y z u@a"), analysis, lock_of())
    assert found.verdict == "undecided"
    assert found.ours.endswith("over y on a+b (z, u@a not run)")
    assert judge(claim("gain-over-best", against="z"), analysis, lock_of()).verdict == "not run"


def test_nearly_equal_needs_the_whole_interval_inside_the_margin() -> None:
    analysis = analysed(make_frames({"x": 2.0, "y": 0.0}, cases=200))
    near = claim("nearly-equal", against="y")
    assert judge({**near, "threshold": "0.9"}, analysis, lock_of()).verdict == "holds"
    assert judge({**near, "threshold": "0.001"}, analysis, lock_of()).verdict == "does not hold"
    gap = next(r.mean for r in row_means(analysis) if r.model == "x") - 0.5
    assert judge({**near, "threshold": f"{gap}"}, analysis, lock_of()).verdict.startswith("undecided")


def test_spreads_are_held_against_the_mean_of_the_others() -> None:
    analysis = analysed(make_frames({"x": 1.0, "y": 0.5, "z": 0.2}))
    sd = {r.model: r.sd for r in row_means(analysis)}
    found = judge(claim("lower-spread", against="y z", threshold="1"), analysis, lock_of())
    assert found.verdict == ("holds" if sd["x"] < (sd["y"] + sd["z"]) / 2 else "does not hold")
    assert f"mean of the others {(sd['y'] + sd['z']) / 2:.3f}" in found.ours


@pytest.mark.parametrize(
    ("repeats", "fold_source", "ddof", "said"),
    [
        (1, "generated", 0, "over 5 folds; ddof 0"),
        (1, "generated", 1, "over 5 folds; ddof 1"),
        (3, "generated", 1, "over 5 folds of each of 3 repeats; ddof 1"),
        (3, "published", 0, "over 5 folds, each the mean of 3 repeats; ddof 0"),
    ],
)
def test_a_spread_says_over_which_folds_and_with_which_ddof(
    repeats: int, fold_source: str, ddof: int, said: str
) -> None:
    made = make_frames({"x": 1.0, "y": 0.5}, repeats=repeats, fold_source=fold_source)
    analysis = analysed(replace(made, sizes=made.sizes.assign(sd_ddof=ddof)))
    found = judge(claim("lower-spread", against="y", threshold="1"), analysis, lock_of())
    assert found.ours.endswith(f" ({said})")
    of_x = analysis.values[("toy", "x", "a+b", "base"), "full", "harrell_c_index"]
    of_fold = [[of_x[place] for place in of_x if place[1] == fold] for fold in range(5)]
    spread = [np.mean(values) for values in of_fold] if fold_source == "published" else list(of_x.values())
    assert found.ours.startswith(f"toy sd {np.std(spread, ddof=ddof):.3f}, ")


def test_spreads_over_other_numbers_of_folds_are_not_compared() -> None:
    made = make_frames({"x": 1.0, "y": 0.5})
    folds = made.folds.copy()
    folds.loc[(folds["fold"] == 4) & (folds["model"] == "y"), ["value", "reason"]] = [np.nan, "no pair"]
    found = judge(claim("lower-spread", against="y", threshold="1"), analysed(replace(made, folds=folds)), lock_of())
    assert found.verdict == "undecided"
    assert found.ours.endswith("(over 5 folds; ddof 1) (y has 4 of 5 folds)")


def short_of_folds(frames: Frames, model: str, folds: Sequence[int]) -> Frames:
    """The frames where a model's cells of some folds failed."""
    parts = {name: getattr(frames, name) for name in ("folds", "predictions")}
    kept = {name: of[~((of["model"] == model) & of["fold"].isin(folds))] for name, of in parts.items()}
    gone = (frames.cells["model"] == model) & frames.cells["fold"].isin(folds)
    return replace(frames, cells=frames.cells.assign(status=frames.cells["status"].where(~gone, "failed")), **kept)


@pytest.mark.parametrize("model", ["x", "y", "z"])
@pytest.mark.parametrize(
    "asked",
    [
        {"kind": "gain-over-best", "threshold": "1"},
        {"kind": "better-under-pattern"},
        {"kind": "nearly-equal", "threshold": "0.9"},
    ],
    ids=lambda asked: asked["kind"],
)
def test_a_claim_on_rows_that_lack_folds_is_open_and_says_so(model: str, asked: dict[str, str]) -> None:
    """Failing on the worst folds makes no claim hold, nor do rivals that fail on theirs."""
    made = make_frames({"x": 3.0, "y": 0.2, "z": 0.0}, cases=200)
    asked = {"against": "y z", **asked}
    kind = asked.pop("kind")
    assert judge(claim(kind, **asked), analysed(made), lock_of()).verdict == "holds"
    found = judge(claim(kind, **asked), analysed(short_of_folds(made, model, [0, 1])), lock_of())
    assert found.verdict == "undecided"
    assert f"{model} has 3 of 5 folds" in found.ours


def test_a_rival_of_one_lucky_fold_is_not_the_best_of_the_others() -> None:
    made = make_frames({"x": 3.0, "y": 0.2, "z": 9.0}, cases=200)
    found = judge(
        claim("gain-over-best", against="y z", threshold="1"),
        analysed(short_of_folds(made, "z", [0, 1, 2, 3])),
        lock_of(),
    )
    assert "over y on a+b" in found.ours


def test_rows_that_lack_folds_are_compared_on_common_folds() -> None:
    made = make_frames({"x": 1.0, "y": 0.5})
    mine = {r.model: r for r in row_means(analysed(short_of_folds(made, "x", [0, 1])))}
    outcome = compare_rows(mine["x"], mine["y"])
    gaps = [mine["x"].folds[0, fold] - mine["y"].folds[0, fold] for fold in (2, 3, 4)]
    assert outcome.value == pytest.approx(np.mean(gaps))
    assert np.isnan(outcome.low)
    assert outcome.text(signed=True).endswith("(on 3 of 5 folds)")


def test_a_model_that_failed_on_folds_is_not_said_to_learn() -> None:
    made = make_frames({"x": 3.0, "y": 0.2}, cases=200)
    asked = claim("learns", variant="base", modalities="a+b", pattern="full")
    assert judge(asked, analysed(made), lock_of()).verdict == "holds"
    found = judge(asked, analysed(short_of_folds(made, "x", [0, 1])), lock_of())
    assert found.verdict == "undecided"
    assert "(3 of 5 folds)" in found.ours


RISES = {"base": (1.0, 1.1, 0.9, 1.2, 1.0), "l1": (0.5, 0.55, 0.45, 0.65, 0.5), "snn": (0.5, 0.5, 0.5, 0.6, 0.55)}
"""Of five folds: `base` above `l1`, `l1` and `snn` not to be told apart."""
NONE = {"datasets": "", "model": "", "modalities": ""}


def rising() -> Analysis:
    curves = {
        variant: [([2.0, 1.0, 1.0 + rise], [0.5, 0.6, 0.55 + 0.01 * i]) for i, rise in enumerate(rises)]
        for variant, rises in RISES.items()
    }
    return analysed(with_curves(make_frames({"x": 1.0}, variants=tuple(RISES)), curves))


def test_a_rise_counts_where_folds_tell_it_apart() -> None:
    analysis = rising()
    rise = claim("later-rise", variant="l1", against="base", **NONE)
    found = judge(rise, analysis, lock_of())
    assert (found.verdict, found.ours) == ("holds", "toy l1 +53.0 %, base +104.0 %")
    assert judge({**rise, "variant": "base", "against": "l1"}, analysis, lock_of()).verdict == "does not hold"
    assert judge({**rise, "variant": "snn", "against": "l1 base"}, analysis, lock_of()).verdict == "undecided"
    assert judge({**rise, "variant": "base", "against": "snn l1"}, analysis, lock_of()).verdict == "does not hold"
    assert judge({**rise, "against": "base gone"}, analysis, lock_of()).verdict == "not run"


def test_steadiness_rests_on_a_paired_test_of_variances() -> None:
    spread = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert pitman_morgan(spread, [0.01, -0.02, 0.0, 0.02, -0.01]) < 0.01
    assert pitman_morgan(spread, [0.0, 2.0, -2.0, 1.0, -1.0]) > 0.9
    assert np.isnan(pitman_morgan(spread, spread))
    assert np.isnan(pitman_morgan([1.0, 2.0], [2.0, 1.0]))
    # the null: variances are equal, so one in twenty is found different
    rng = np.random.default_rng(0)
    share = np.mean([pitman_morgan(*rng.normal(size=(2, 5))) < 0.05 for _ in range(2000)])
    assert 0.035 < share < 0.065


def test_a_steadier_score_or_agreement() -> None:
    steady = [([3.0, 2.0, 1.0, 1.5], [0.5, 0.6, 0.7, 0.6 + 0.001 * i]) for i in range(5)]
    wild = [([3.0, 2.0, 1.0, 1.5], list(np.roll([0.5, 0.6, 0.7, 0.65], i))) for i in range(5)]
    frames = with_curves(make_frames({"x": 1.0}, variants=("base", "v")), {"base": wild, "v": steady})
    analysis = analysed(frames)
    agreement = claim("steadier-agreement", variant="v", against="base", **NONE)
    assert judge(agreement, analysis, lock_of()).verdict == "holds"
    turned = {**agreement, "variant": "base", "against": "v"}
    assert judge(turned, analysis, lock_of()).verdict == "does not hold"
    score = judge(claim("steadier-score", variant="v", against="base", **NONE), analysis, lock_of())
    sd = {r.variant: r.sd for r in row_means(analysis)}
    assert score.ours.startswith(f"toy x sd {sd['v']:.3f} against {sd['base']:.3f} (p = ")
    sensitive = judge(claim("sensitive", against="base", **NONE), analysis, lock_of())
    assert sensitive.verdict in ("holds", "undecided")


ONLY = {"full": 1, "only:a": 1, "only:b": 1}
SKILLS = {"x": {"full": 2.0, "only:a": 0.2, "only:b": 1.0}, "x on a": 1.5, "x on b": 0.0}
"""Left with a, x is much worse than its kin trained on a; left with b it is much better than its kin on b."""


def alone(skills: Mapping[str, Any], **more: Any) -> Analysis:
    return analysed(make_frames(skills, patterns=ONLY, cases=300, **more))


def test_one_visible_modality_is_held_against_the_model_trained_on_it() -> None:
    analysis = alone(SKILLS)
    near = claim("no-worse-alone", modalities="", variant="base", threshold="0.02")
    found = judge(near, analysis, lock_of())
    c = {(r.row[2], p): r.mean for p in ONLY for r in row_means(analysis, p)}
    gaps = {m: c["a+b", f"only:{m}"] - c[m, "full"] for m in "ab"}
    assert found.ours.startswith(f"toy {np.mean(list(gaps.values())):+.3f} [")
    assert f"over 2 modalities, least on a {gaps['a']:+.3f}, margin 0.02" in found.ours
    assert judge({**near, "threshold": "0.9"}, analysis, lock_of()).verdict == "holds"
    assert judge({**near, "threshold": "-0.9"}, analysis, lock_of()).verdict == "does not hold"
    assert judge({**near, "variant": "other"}, analysis, lock_of()).verdict == "not run"
    assert judge(near, analysed(make_frames({"x": 1.0}, patterns=ONLY)), lock_of()).verdict == "not run"


def test_the_interval_over_modalities_is_of_the_mean_of_their_draws() -> None:
    analysis = alone({**SKILLS, "x": {"full": 2.0, "only:a": 1.5, "only:b": 0.0}})
    rows = {(r.row[2], p): r.draws for p in ONLY for r in row_means(analysis, p)}
    gaps = [rows["a+b", f"only:{m}"] - rows[m, "full"] for m in "ab"]
    low, high = percentile_interval(np.mean(gaps, axis=0))
    near = claim("no-worse-alone", modalities="", variant="base", threshold="0.02")
    assert f"[{low:+.3f}, {high:+.3f}]" in judge(near, analysis, lock_of()).ours


def test_a_row_that_lacks_a_fold_has_no_interval_over_modalities() -> None:
    made = make_frames(SKILLS, patterns=ONLY, cases=300)
    folds = made.folds.copy()
    gone = (folds["fold"] == 4) & (folds["modalities"] == "a")
    folds.loc[gone, ["value", "reason"]] = [np.nan, "no pair"]
    near = claim("no-worse-alone", modalities="", variant="base", threshold="0.9")
    found = judge(near, analysed(replace(made, folds=folds)), lock_of())
    assert found.verdict == "undecided"
    assert "[" not in found.ours


def test_training_with_missing_modalities_learns_where_c_lies_above_chance() -> None:
    learns = claim("learns", modalities="", variant="v", against="base")
    analysis = analysed(make_frames({"x": 2.0}, variants=("base", "v"), cases=200))
    found = judge(learns, analysis, lock_of())
    one, other = ({r.variant: r for r in row_means(analysis)}[v] for v in ("v", "base"))
    assert (found.verdict, found.ours) == (
        "holds",
        f"toy c {one.text}, {compare_rows(one, other).text(signed=True)} to base",
    )
    opposed = analysed(make_frames({"x": -2.0}, variants=("base", "v"), cases=200))
    assert judge(learns, opposed, lock_of()).verdict == "does not hold"
    chance = analysed(make_frames({"x": 0.0}, variants=("base", "v"), cases=200))
    assert judge(learns, chance, lock_of()).verdict == "undecided"


def test_claims_of_other_suites_are_told_and_not_judged() -> None:
    rows = [
        claim("gain-over-best", against="y"),
        claim("counts", id="c2", checked_by="other"),
        claim("", id="c3", checked_by=""),
    ]
    stored = {"notes": [], "rows": rows}
    section = named(
        list(reproduction(analysed(make_frames({"x": 1.0, "y": 0.0})), lock_of(claims=stored))), "Published"
    )
    assert [line[0] for line in texts(section)] == ["c1"]
    assert section.notes == ("not checked by this suite: c2 (other); c3 (no suite, no rule yet)",)


def test_deviations_name_every_switch_that_is_not_as_published() -> None:
    (clean,) = deviations(lock_of())
    assert all(f"{key}=" in clean for key in ("unit", "fold_source", "alpha", "lr", "restore_best"))
    assert "unit=patient (published: slide)" in clean
    assert "clip=5.0 (published: none)" in clean
    assert "impute=median (published: mean)" in clean
    whole = {"name": "whole", "protocol": {"base": "as-published"}, "train": {"base": "as-published", "l1": 3e-4}}
    told = list(deviations(lock_of([whole, {**whole, "name": "again", "only": {"datasets": ["toy"]}}])))
    assert told[0].startswith("base: not as published: ")
    assert told[1] == "whole, again (toy): every switch as published"
    one = {**whole, "protocol": {**AS_PUBLISHED, "unit": "patient"}, "train": dict(AS_PUBLISHED_TRAINING)}
    common, rest = deviations(lock_of([one]))
    assert common == "not as published: unit=patient (published: slide)"
    assert rest.startswith("base: not as published: fold_source=generated (published: random); ")
    lock = lock_of()
    lock["suite"]["datasets"] = ["toy[image=dir]"]
    assert list(deviations(lock))[-1] == "data of this run: toy[image=dir]"


COUNTED = {
    "cases": 10,
    "groups": 9,
    "events": 4,
    "bins": [1, 2, 3, 4],
    "columns": {"a": 5, "b": 2},
    "having": {"a": 10, "b": 8},
}


def published_counts(*rows: tuple[str, str, str, str]) -> dict[str, Any]:
    keys = ("dataset", "property", "value", "plus")
    return {"notes": ["of a table"], "rows": [{"unit": "slide", **dict(zip(keys, row, strict=True))} for row in rows]}


def test_counts_beside_the_published_ones() -> None:
    stored = published_counts(
        ("toy", "rows", "10", ""),
        ("toy", "columns", "15", "8"),
        ("toy", "censored", "0.60", ""),
        ("toy", "bins", "1 2 3 5", ""),
        ("gone", "rows", "10", ""),
    )
    lock = lock_of(counts=stored) | {"datasets": {"toy[image=dir]": {"counts": {"slide": COUNTED}}}}
    analysis = analysed(make_frames({"x": 1.0, "y": 0.0}))
    (section,) = counts(analysis, lock)
    assert [line[4:] for line in texts(section)] == [
        ("10", "yes"),
        ("7 + 8 = 15", "yes"),
        ("0.600", "yes"),
        ("1 2 3 4", "no"),
    ]
    assert section.notes == ("of a table", "not read here: gone")
    assert agreeing(lock) == (3, 4, 5)
    whole = claim("counts", datasets="")
    assert judge(whole, analysis, lock).verdict == "does not hold"
    stored["rows"][3]["value"] = "1 2 3 4"
    assert judge(whole, analysis, lock).verdict == "undecided"
    del stored["rows"][4]
    assert judge(whole, analysis, lock).verdict == "holds"


def test_slides_and_cases_that_have_a_modality_are_counted() -> None:
    stored = published_counts(
        ("toy", "slides", "12", "3"),
        ("toy", "having:a", "10", ""),
        ("toy", "having:b", "8", ""),
        ("toy", "having:c", "8", ""),
    )
    lock = lock_of(counts=stored) | {"datasets": {"toy": {"counts": {"slide": COUNTED}}}}
    (section,) = counts(analysed(make_frames({"x": 1.0, "y": 0.0})), lock)
    assert [line[2:] for line in texts(section)] == [
        ("slides", "12", "10 + 3 = 13", "no"),
        ("having:a", "10", "10", "yes"),
        ("having:b", "8", "8", "yes"),
    ]
    assert section.notes == ("of a table", "not read here: having:c of toy")
    assert agreeing(lock) == (2, 3, 4)
    older = {key: value for key, value in COUNTED.items() if key != "having"}
    assert agreeing(lock | {"datasets": {"toy": {"counts": {"slide": older}}}}) == (0, 1, 4)


@pytest.mark.parametrize("fmt", ["md", "latex", "html"])
def test_every_section_can_be_written(fmt: Any) -> None:
    frames = with_curves(
        make_frames({"x": 1.0, "y": 0.0}, variants=("base", "last"), folds=2),
        {"base": [FOLD, NOISY], "last": [FOLD, FOLD]},
    )
    stored = reference(("toy", "x", "a+b", "full", "harrell_c_index", "0.6", "0.1"))
    lock = lock_of([LAST], reference=stored, claims={"notes": [], "rows": [claim("gain-over-best", against="y")]})
    analysis = analysed(frames)
    text = render(analysis.table, fmt, findings=findings(analysis, lock, discover()))
    for title in ("What each variant changes on toy", "Training of toy", "Published numbers", "Published claims"):
        assert title in text
