"""A row that lacks folds leads nothing, ties with nothing, is no reference, and decides what no other row is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import pytest

from fusionbench.report.analysis import Analysis, analyse
from fusionbench.report.document import Section
from fusionbench.report.findings.fusion import did_fusion_help, references
from fusionbench.report.paired import compare
from fusionbench.report.render import render
from fusionbench.results.frames import Frames
from tests.unit.stored_results import DIRECTIONS, make_frames

C = "harrell_c_index"


def without_folds(
    frames: Frames, model: str, folds: Iterable[int], *, status: str = "failed", on: str = "a+b", dataset: str = "toy"
) -> Frames:
    """The frames where a row's cells of some folds have no result, for one reason or another."""

    def hit(frame):
        of_row = (frame["dataset"] == dataset) & (frame["model"] == model) & (frame["modalities"] == on)
        return of_row & frame["fold"].isin(list(folds))

    kept = {name: of[~hit(of)] for name, of in (("folds", frames.folds), ("predictions", frames.predictions))}
    if status == "absent":
        return replace(frames, cells=frames.cells[~hit(frames.cells)], **kept)
    lost = hit(frames.cells)
    cells = frames.cells.assign(
        status=frames.cells["status"].where(~lost, status), reason=frames.cells["reason"].where(~lost, "raised")
    )
    return replace(frames, cells=cells, **kept)


def analysed(frames: Frames) -> Analysis:
    return analyse(frames, directions=DIRECTIONS, seed=0, draws=20)


def row(model: str, on: str = "a+b") -> tuple[str, str, str, str]:
    return "toy", model, on, "base"


def worst_folds(frames: Frames, model: str, n: int) -> list[int]:
    of = frames.folds[(frames.folds["model"] == model) & (frames.folds["metric"] == C)]
    return list(of.sort_values("value")["fold"].iloc[:n])


def lines(section: Section) -> dict[str, dict[str, str]]:
    return {line[0].text: {n: e.text for n, e in zip(section.header, line, strict=True)} for line in section.lines}


@pytest.mark.parametrize("status", ["failed", "missing", "skipped", "absent"])
def test_a_row_of_one_fold_does_not_beat_one_of_five(status: str) -> None:
    frames = make_frames({"lucky": 9.0, "whole": 1.0, "other": 0.8})
    table = analysed(without_folds(frames, "lucky", [1, 2, 3, 4], status=status)).table
    assert {key[0][1] for key in table.best if key[2] == C} == {"whole"}
    tied = table.rows[(table.rows["metric"] == C) & (table.rows["tie_group"] == "a")]["model"]
    assert "lucky" not in set(tied)
    text = render(table, "md")
    assert "(1 of 5 folds)" in text
    assert "lacks folds, so not ranked: lucky on a+b: harrell_c_index has 1 of 5 folds; on 1 of 5 folds, whole" in text
    assert "rows that lack folds are neither bold nor a" in text


def test_raising_on_the_two_worst_folds_is_no_way_to_lead() -> None:
    frames = make_frames({"picky": 1.0, "whole": 1.0})
    picky = without_folds(frames, "picky", worst_folds(frames, "picky", 2))
    table = analysed(picky).table
    means = table.rows[table.rows["metric"] == C].set_index("model")["mean"]
    assert means["picky"] > means["whole"], "the breach: the mean of the three folds that are left is higher"
    assert {key[0][1] for key in table.best} == {"whole"}
    assert "on 3 of 5 folds, whole minus this row" in render(table, "md")


def test_a_value_that_is_undefined_where_others_have_one_is_a_fold_that_lacks() -> None:
    frames = make_frames({"picky": 1.0, "whole": 1.0})
    bad = (frames.folds["model"] == "picky") & frames.folds["fold"].isin(worst_folds(frames, "picky", 2))
    folds = frames.folds.assign(
        value=frames.folds["value"].where(~bad), reason=frames.folds["reason"].where(~bad, "no curve")
    )
    table = analysed(replace(frames, folds=folds)).table
    assert {key[0][1] for key in table.best} == {"whole"}


def test_a_fold_on_which_nobody_has_a_value_is_held_against_nobody() -> None:
    frames = make_frames({"x": 2.0, "y": 1.0})
    folds = frames.folds.assign(value=frames.folds["value"].where(frames.folds["fold"] != 3))
    table = analysed(replace(frames, folds=folds)).table
    assert not table.incomplete
    assert {key[0][1] for key in table.best if key[2] == C} == {"x"}


def test_one_fold_alone_does_not_mark_everything_as_not_different() -> None:
    """Nor does it weigh in Holm's adjustment of the others."""
    skill = {"good": 3.0, "fair": 0.4, "poor": 0.0}
    before = analysed(make_frames(skill, cases=600, repeats=2)).table
    frames = make_frames({**skill, "lucky": 9.0}, cases=600, repeats=2)
    after = analysed(without_folds(frames, "lucky", [1, 2, 3, 4])).table
    parts = {name: getattr(frames, name) for name in ("cells", "folds", "predictions")}
    alone = replace(frames, **{name: of[of["model"] != "lucky"] for name, of in parts.items()})
    without = analysed(alone).table
    p = {
        name: table.tests[table.tests["metric"] == C].set_index("model_b")["p_holm"]
        for name, table in (("with", after), ("without", without))
    }
    assert dict(p["with"].drop("lucky")) == dict(p["without"])
    assert math.isnan(p["with"]["lucky"])
    assert {key[0][1] for key in after.best if key[2] == C} == {"good"}
    tied = after.rows[(after.rows["metric"] == C) & (after.rows["tie_group"] == "a")]["model"]
    assert (
        set(tied)
        == set(before.rows[(before.rows["metric"] == C) & (before.rows["tie_group"] == "a")]["model"])
        == {"good"}
    )


def test_where_every_row_lacks_folds_nothing_is_bold() -> None:
    frames = without_folds(without_folds(make_frames({"x": 2.0, "y": 1.0}), "x", [0]), "y", [1])
    table = analysed(frames).table
    assert not table.best
    assert set(table.rows["tie_group"]) == {""}


FUSED = {"healnet": 2.0, "best-unimodal": 1.0, "cox on a": 1.0, "cox on b": 0.1, "lucky on a": 5.0}


def test_the_best_modality_alone_is_chosen_among_complete_rows() -> None:
    frames = make_frames(FUSED, cases=200)
    analysis = analysed(without_folds(frames, "lucky", [0, 1, 2, 3], on="a"))
    assert references(analysis, row("healnet")) == (row("best-unimodal"), row("cox", "a"))
    (section,) = (s for s in did_fusion_help(analysis, {}) if s.title == "toy")
    assert section.notes[1] == "lack folds, so no reference: lucky on a (1 of 5 folds)"


def test_a_reference_that_lacks_folds_is_none() -> None:
    frames = without_folds(make_frames(FUSED, cases=200), "best-unimodal", [0, 1])
    analysis = analysed(frames)
    assert references(analysis, row("healnet"))[0] is None
    (section,) = (s for s in did_fusion_help(analysis, {}) if s.title == "toy")
    assert "best-unimodal on a+b (3 of 5 folds)" in section.notes[-1]


def test_a_fused_model_that_raises_on_its_worst_folds_is_compared_on_common_folds() -> None:
    frames = make_frames({**FUSED, "cox": 1.0}, cases=200)
    picky = without_folds(frames, "healnet", worst_folds(frames, "healnet", 2))
    sections = {s.title: s for s in did_fusion_help(analysed(picky), {})}
    line = lines(sections["toy"])["healnet"]
    assert line["c"].endswith("(3 of 5 folds)")
    for column in ("to best uni-modal", "to test-best uni-modal"):
        assert line[column].endswith("(on 3 of 5 folds)")
        assert "[" not in line[column], "no interval over other folds than the reference's"
    assert line["p_holm"] == "-"
    pairs = sections["toy: pairs ranked right, a+b"]
    assert pairs.header[6:] == ("cox",), "shares are over the folds that all rows of the section have"
    assert pairs.notes == ("left out, for lack of folds: healnet on a+b (3 of 5 folds)",)


def test_a_comparison_of_two_models_says_on_how_many_folds() -> None:
    frames = without_folds(make_frames({"picky": 1.0, "whole": 1.0}), "picky", [0, 1])
    pairs = compare(frames, "picky", "whole", directions=DIRECTIONS, seed=0, draws=20)
    assert set(pairs["n_folds"]) == {3}
    assert set(pairs["reason"]) == {"on 3 of 5 folds"}
