"""What is pooled over cohorts: patients once, models whatever their options, and no row that lacks folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fusionbench.report.document import Section
from fusionbench.report.findings.cohorts import same_patients
from fusionbench.report.findings.pooled import pooled_sections
from fusionbench.report.render import render
from fusionbench.results.frames import Frames
from tests.adversarial.test_incomplete_rows import analysed, without_folds
from tests.unit.stored_results import make_frames

SKILL = {"good": 1.0, "fair": 0.5}


def sections(frames: Frames) -> list[Section]:
    return list(pooled_sections(analysed(frames), {}))


def of_the_patients(frames: Frames, dataset: str, other: str) -> Frames:
    """One dataset with the follow-up of another, as of the same patients read with other options."""
    targets = frames.targets.copy()
    mine, theirs = (targets["dataset"] == name for name in (dataset, other))
    for column in ("time", "event"):
        targets.loc[mine, column] = targets.loc[theirs, column].to_numpy()
    return replace(frames, targets=targets)


def renamed(frames: Frames, models: Mapping[tuple[str, str], str]) -> Frames:
    """Rows of (dataset, model) under the model's name with options."""
    parts = {}
    for part in ("cells", "folds", "predictions"):
        frame = getattr(frames, part)
        pairs = zip(frame["dataset"], frame["model"], strict=True)
        parts[part] = frame.assign(model=[models.get(pair, pair[1]) for pair in pairs])
    return replace(frames, **parts)


def without_dataset(frames: Frames, dataset: str, *, but: str = "") -> Frames:
    """The frames without the rows of a dataset, except those of one model."""
    kept = {
        name: of[(of["dataset"] != dataset) | (of["model"] == but)]
        for name, of in (("cells", frames.cells), ("folds", frames.folds), ("predictions", frames.predictions))
    }
    return replace(frames, **kept)


def test_one_cohort_under_two_names_is_not_two() -> None:
    frames = make_frames(SKILL, datasets=("tcga-kirp", "tcga-kirp[image=roi]"))
    assert [s.title for s in sections(frames)] == ["2 cohorts together"], "of other patients they are two"
    assert sections(of_the_patients(frames, "tcga-kirp[image=roi]", "tcga-kirp")) == []


def test_a_cohort_under_another_name_is_found_by_its_patients() -> None:
    frames = of_the_patients(make_frames(SKILL, datasets=("blca", "kirp", "copy-of-kirp")), "copy-of-kirp", "kirp")
    (section,) = sections(frames)
    assert section.title == "2 cohorts together"
    assert "copy-of-kirp holds patients of kirp: one cohort, counted once" in section.notes
    (alone,) = sections(without_dataset(frames, "copy-of-kirp"))
    assert section.lines == alone.lines


def test_patients_are_compared_with_their_follow_up() -> None:
    """Invented cohorts number their cases alike; slides of one patient are one patient; a part of a cohort is it."""
    targets = make_frames(SKILL, datasets=("a", "b", "c")).targets
    assert same_patients(targets, ["a", "b", "c"]) == [["a"], ["b"], ["c"]]
    part = targets[targets["dataset"] == "a"].head(20).assign(dataset="part of a")
    slides = targets[targets["dataset"] == "b"].assign(dataset="slides of b")
    slides = pd.concat([slides.assign(case=slides["case"] + f"-{i}") for i in (1, 2)])
    names = ["a", "b", "c", "part of a", "slides of b"]
    cohorts = same_patients(pd.concat([targets, part, slides]), names)
    assert cohorts == [["c"], ["a", "part of a"], ["b", "slides of b"]]


def test_a_model_whose_options_differ_by_cohort_is_one_model() -> None:
    datasets = ("blca", "kirp", "brca")
    frames = make_frames({"healnet": 1.5, **SKILL}, datasets=datasets)
    presets = renamed(frames, {(name, "healnet"): f"healnet[preset=paper-{name}]" for name in datasets})
    ((same,), (section,)) = sections(frames), sections(presets)
    assert section.title == "3 cohorts together"
    assert sorted(line[0].text for line in section.lines) == ["fair", "good", "healnet (options by cohort)"]
    assert [line[1:] for line in section.lines] == [line[1:] for line in same.lines]
    written = ", ".join(f"healnet[preset=paper-{name}] on {name}" for name in datasets)
    assert f"options by cohort: {written}" in section.notes


def test_a_model_with_several_options_on_one_cohort_is_left_out_and_named() -> None:
    frames = make_frames({"healnet": 1.5, "other": 1.4, **SKILL}, datasets=("blca", "kirp"))
    names = {("blca", "other"): "healnet[a=1]", ("kirp", "other"): "healnet[a=2]", ("kirp", "healnet"): "healnet[a=3]"}
    (section,) = sections(renamed(frames, names))
    assert {line[0].text for line in section.lines} == set(SKILL)
    assert "left out, as no one set of its options was run on every cohort: healnet on a+b" in section.notes


def test_options_that_differ_elsewhere_only_make_no_second_line() -> None:
    frames = make_frames({"healnet": 1.5, **SKILL}, datasets=("blca", "kirp", "brca"))
    presets = renamed(without_dataset(frames, "brca", but="healnet"), {("brca", "healnet"): "healnet[a=1]"})
    (section,) = sections(presets)
    assert sorted(line[0].text for line in section.lines) == ["fair", "good", "healnet"]


@pytest.mark.parametrize("source", ["generated", "random", "published"])
def test_headings_name_the_folds_that_were_used(source: str) -> None:
    assert f"1 x 5 {source} folds" in render(analysed(make_frames(SKILL, fold_source=source)).table, "md")


def test_a_row_that_lacks_folds_on_one_cohort_is_not_pooled() -> None:
    datasets = ("d0", "d1", "d2")
    frames = make_frames({"lucky": 1.0, "good": 1.0, "fair": 0.5}, datasets=datasets)
    frames = without_folds(frames, "lucky", [1, 2, 3], dataset="d1")
    (section,) = pooled_sections(analysed(frames), {})
    assert section.title == "3 cohorts together"
    assert {line[0].text for line in section.lines} == {"good", "fair"}
    assert any("lucky on a+b" in note and "d1 (2 of 5 folds)" in note for note in section.notes)


def test_where_all_but_one_lack_folds_on_a_cohort_the_others_are_pooled() -> None:
    frames = make_frames({"good": 1.0, "fair": 0.5}, datasets=("d0", "d1", "d2"))
    frames = without_folds(frames, "fair", [0], dataset="d2")
    (section,) = pooled_sections(analysed(frames), {})
    assert section.title == "2 cohorts together"
    assert np.isfinite(float(section.lines[0][2].text))


def test_two_endpoints_of_one_cohort_are_counted_once() -> None:
    """Classes have no follow-up by which patients could be told apart: the dataset's name stands for it."""
    ids = [f"p{i}" for i in range(20)]

    def of(dataset: str) -> pd.DataFrame:
        nothing = {"time": np.nan, "event": None, "label": "yes", "modalities": "x"}
        return pd.DataFrame({"dataset": dataset, "case": ids, "group": ids, **nothing})

    names = ["hancock[endpoint=hpv]", "hancock[endpoint=recurrence-2y]", "transneo"]
    targets = pd.concat([of(name) for name in names], ignore_index=True)
    assert same_patients(targets, names) == [names[:2], names[2:]]
