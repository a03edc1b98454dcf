"""The verdict on results with a known answer, and its words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from fusionbench.report.findings.summary import CohortSummary, read_summary, summaries, summary_json
from fusionbench.report.verdict import Candidate, Evidence, Fall, Outcome, verdict
from fusionbench.results.frames import Frames
from tests.adversarial.test_incomplete_rows import without_folds
from tests.unit.drawn_results import analysed
from tests.unit.stored_results import make_frames

UNIMODAL: Mapping[str, float] = {"cox on a": 0.6, "cox on b": 0.2}
NO_LOCK: Mapping[str, Mapping[str, object]] = {"datasets": {}}


def summary(frames: Frames, dataset: str = "toy", lock: Mapping[str, object] = NO_LOCK) -> CohortSummary:
    return next(cohort for cohort in summaries(analysed(frames), lock) if cohort.dataset == dataset)


def outcome(frames: Frames, dataset: str = "toy") -> str:
    return summary(frames, dataset).verdicts[0].outcome


def test_a_clear_win() -> None:
    of = summary(make_frames({"fused": 3.0, **UNIMODAL}, cases=300)).verdicts[0]
    assert of.outcome == "better"
    assert of.answer.startswith("Fusion helps: fused on a+b 0.7")
    assert "is better than the best single modality, cox on a (0.5" in of.answer


def test_a_tie() -> None:
    of = summary(make_frames({"fused": 0.62, **UNIMODAL})).verdicts[0]
    assert of.outcome == "tied"
    assert of.answer.startswith("No fusion row beats the best single modality, cox on a (0.")
    assert "cannot be detected with these folds" in of.text


def test_a_loss() -> None:
    of = summary(make_frames({"fused": 0.0, "cox on a": 3.0}, cases=300)).verdicts[0]
    assert of.outcome == "worse"
    assert of.answer.startswith("Fusion hurts: even the best fused, fused on a+b 0.")


def test_one_fold_tests_nothing() -> None:
    of = summary(make_frames({"fused": 3.0, **UNIMODAL}, folds=1)).verdicts[0]
    assert of.outcome == "untested"
    assert of.answer.startswith("One fold cannot show whether fusion beats")
    assert "not tested" in of.answer


def test_too_few_events_test_nothing() -> None:
    frames = make_frames({"fused": 3.0, **UNIMODAL})
    targets = frames.targets.assign(event=frames.targets["case"].rank() <= 4)
    of = summary(replace(frames, targets=targets)).verdicts[0]
    assert of.outcome == "untested"
    why = "Too few outcomes (4 patients with an event, fewer than 10) cannot show whether fusion beats"
    assert of.answer.startswith(why)
    assert "p =" not in of.text


def test_a_row_with_failed_folds_decides_nothing() -> None:
    frames = without_folds(make_frames({"fused": 3.0, "fair": 0.6, **UNIMODAL}, cases=300), "fused", [1])
    of = summary(frames).verdicts[0]
    assert of.outcome == "tied"
    assert "Best fused: fair on a+b" in of.answer
    assert "Not ranked for want of folds: fused on a+b." in of.text


def test_a_reference_with_failed_folds_is_none() -> None:
    frames = without_folds(make_frames({"fused": 0.5, "cox on a": 3.0, "cox on b": 0.5}), "cox", [1], on="a")
    assert "the best single modality, cox on b" in summary(frames).verdicts[0].answer


def test_one_cohort_of_several() -> None:
    frames = make_frames({"fused": 3.0, **UNIMODAL}, datasets=("toy", "other"), cases=300)
    worse = frames.folds["dataset"].eq("other") & frames.folds["model"].eq("fused")
    changed = frames.folds.assign(value=frames.folds["value"].where(~worse, 0.4 + 0.001 * frames.folds["fold"]))
    of_both = summaries(analysed(replace(frames, folds=changed)), NO_LOCK)
    cohorts = {cohort.dataset: cohort.verdicts[0].outcome for cohort in of_both}
    assert cohorts == {"toy": "better", "other": "worse"}


def test_no_row_on_one_modality() -> None:
    of = summary(make_frames({"fused": 1.0})).verdicts[0]
    assert of.outcome == "no uni-modal row"
    assert "whether fusion helps is open" in of.answer


def test_no_row_on_several_modalities() -> None:
    of = summary(make_frames(UNIMODAL)).verdicts[0]
    assert of.outcome == "no fusion row"
    assert of.answer.startswith("No model on several modalities was run. Best on one modality: cox on a")


def test_the_control_that_picks_a_modality_is_no_fusion_model() -> None:
    assert outcome(make_frames({"best-unimodal": 3.0, **UNIMODAL}, cases=300)) == "no fusion row"


def test_missing_patterns_name_the_worst_and_who_is_best_there() -> None:
    patterns = {"full": 1, "only:a": 1, "only:b": 1}
    skill = {
        "fused": {"full": 3.0, "only:a": 1.0, "only:b": 0.0},
        "robust": {"full": 1.0, "only:a": 1.0, "only:b": 1.0},
        **UNIMODAL,
    }
    text = summary(make_frames(skill, patterns=patterns, cases=300)).verdicts[0].text
    assert "With modalities missing (pattern only:b), the best fused falls to 0." in text
    assert "best there: robust on a+b" in text


def test_many_rows_are_adjusted_for() -> None:
    """The best of twenty rows of chance is no win, though alone its p would be small."""
    rng = np.random.default_rng(3)
    skill = {f"m{i}": 0.6 + 0.05 * rng.random() for i in range(20)}
    assert outcome(make_frames({**skill, **UNIMODAL})) == "tied"


def test_every_variant_has_its_own() -> None:
    frames = make_frames({"fused": 1.0, **UNIMODAL}, variants=("base", "other"))
    cohort = summary(frames)
    assert [v.variant for v in cohort.verdicts] == ["base", "other"]
    assert cohort.texts[1].startswith("other: ")
    assert "(other)" in cohort.texts[1]


def test_facts_and_leaks_come_from_the_lock() -> None:
    warnings = [{"kind": kind, "text": "x"} for kind in ("predicts-event", "single-level")]
    lock = {"datasets": {"toy": {"title": "A toy", "modalities": {"a": 3}, "warnings": warnings}}}
    cohort = summary(make_frames({"fused": 1.0, **UNIMODAL}), lock=lock)
    assert (cohort.title, cohort.cases, dict(cohort.modalities)) == ("A toy", 100, {"a": 3})
    assert 0 < cohort.events < 100
    assert cohort.verdicts[0].answer.startswith("Do not rely on these numbers: this cohort shows a sign of leakage")
    assert read_summary(summary_json([cohort])) == [cohort]


FUSED, COX = Candidate("healnet on a+b", 0.700, 0.65, 0.75), Candidate("cox on a", 0.650)
TESTED = Evidence("harrell_c_index", fused=FUSED, unimodal=COX, difference=0.05, p=0.01, p_alone=0.01, n_folds=5)


@pytest.mark.parametrize(
    ("changed", "expected", "words"),
    [
        ({}, Outcome.BETTER, "Fusion helps: healnet on a+b 0.700 [0.650, 0.750] is better"),
        ({"p": 0.0004}, Outcome.BETTER, "+0.050, p < 0.001"),
        ({"p": 0.05}, Outcome.BETTER, "p = 0.050"),
        (
            {"p": 0.3, "n_fused": 12},
            Outcome.TIED,
            "p = 0.300 adjusted for 12 fusion rows, p = 0.010 for this row alone",
        ),
        ({"p": 0.9, "p_alone": 0.9, "difference": -1e-9}, Outcome.TIED, "tied: 0.000, p = 0.900"),
        ({"difference": -0.05}, Outcome.WORSE, "Fusion hurts"),
        ({"higher_is_better": False}, Outcome.WORSE, "Fusion hurts"),
        ({"higher_is_better": False, "difference": -0.05}, Outcome.BETTER, "Fusion helps"),
        ({"p": math.nan, "n_folds": 3}, Outcome.UNTESTED, "These folds cannot show"),
        ({"fused": None, "unimodal": None}, Outcome.NO_SCORE, "No row has harrell_c_index on every planned fold"),
        ({"n_better": 3, "n_fused": 4}, Outcome.BETTER, "3 of 4 fusion rows are better"),
        ({"fall": Fall("half", FUSED, FUSED)}, Outcome.BETTER, "the best fused falls to 0.700; still the best row"),
        ({"lacking": list("vwxyz")}, Outcome.BETTER, "Not ranked for want of folds: v, w, x and 2 more."),
        ({"leaks": 2}, Outcome.BETTER, "this cohort shows 2 signs of leakage"),
    ],
)
def test_words(changed: Mapping[str, object], expected: Outcome, words: str) -> None:
    of = verdict(replace(TESTED, **changed))  # type: ignore[arg-type]
    assert of.outcome is expected
    assert words in of.text
