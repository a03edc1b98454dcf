"""Predicting under patterns and scoring: priors, draws, horizons, and what is refused of a plugin."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from fusionbench import (
    Case,
    CaseSet,
    Metric,
    ModalitySpec,
    PluginError,
    Predictor,
    PreparedCase,
    StepPrediction,
    SurvivalPrediction,
    SurvivalTargets,
    Task,
    UndefinedMetric,
)
from fusionbench.core.cell_result import PatternPrediction
from fusionbench.data.masks import make_masks
from fusionbench.execution.evaluate import (
    predict_all,
    predict_patterns,
    predict_steps,
    prior_prediction,
    score_patterns,
    time_grid,
)
from fusionbench.tasks.survival import Survival

SURVIVAL = Survival()
on_grid, checked, censor_after = SURVIVAL.on_grid, SURVIVAL.checked, SURVIVAL.to_horizon
NAMES = ("clinical", "omic")
SPECS = {name: ModalitySpec(name, "vector", 1) for name in NAMES}
IDS = ("a", "b", "c")
TIMES = np.array([10.0, 20.0])
Targets = SurvivalTargets[NDArray[Any]]


def prepare(case: Case, names: tuple[str, ...]) -> PreparedCase:
    return PreparedCase(case.id, {name: case.refs[name] for name in names})


def case_set(refs: Mapping[str, Mapping[str, float]], targets: Targets | None = None) -> CaseSet:
    """Cases by id; a modality's bag is a plain number here."""
    return CaseSet(tuple(Case(i, i, None, r) for i, r in refs.items()), SPECS, targets, prepare)


def targets(time: list[float], event: list[bool]) -> Targets:
    return SurvivalTargets(np.array(time), np.array(event), np.zeros(len(time), dtype=np.int64))


@dataclass
class Sums(Predictor):
    """Risk is the sum of a case's visible numbers; notes what it was asked."""

    survival: bool = True
    asked: list[tuple[str, ...]] = field(default_factory=list)
    targets: list[Any] = field(default_factory=list)

    def predict(self, cases: CaseSet) -> SurvivalPrediction:
        self.asked.append(cases.ids)
        self.targets.append(cases.targets)
        risk = np.array([float(sum(case.bags.values())) for case in cases])  # type: ignore[arg-type]
        if not self.survival:
            return SurvivalPrediction(cases.ids, risk)
        return SurvivalPrediction(cases.ids, risk, np.stack([np.exp(-risk), np.exp(-2 * risk)], axis=1), TIMES)

    def state(self) -> Mapping[str, Any]:
        return {}


class OutOfSample(Sums):
    def predict_validation(self, val: CaseSet) -> SurvivalPrediction:
        seen = self.predict(val)
        return replace(seen, risk=seen.risk + 100)


FOUR = {"a": {"clinical": 1.0, "omic": 2.0}, "b": {"omic": 3.0}, "c": {}, "d": {"clinical": 4.0}}
PRIOR = SurvivalPrediction(("prior",), np.array([7.0]), np.array([[0.9, 0.5]]), TIMES)


# Time


def test_the_grid_has_twenty_equal_steps_up_to_tau() -> None:
    grid = time_grid(60.0)
    assert grid.tolist() == [3.0 * i for i in range(1, 21)]
    assert time_grid(41.7)[-1] == 41.7


def test_survival_is_put_on_the_grid_and_absence_stays_absence() -> None:
    there = on_grid(PRIOR, np.array([5.0, 10.0, 15.0, 30.0]))
    assert there.survival is not None
    assert there.survival[0] == pytest.approx([0.95, 0.9, 0.7, 0.5])
    assert on_grid(SurvivalPrediction(("a",), np.zeros(1)), TIMES).survival is None


def test_targets_beyond_tau_are_censored_just_beyond_it() -> None:
    was = targets([10.0, 60.0, 60.5, 90.0], [True, True, True, False])
    now = censor_after(was, 60.0)
    assert now.event.tolist() == [True, True, False, False]
    assert now.time[:2].tolist() == [10.0, 60.0]
    assert (now.time[2:] > 60.0).all()
    assert (now.time[2:] < 60.0 + 1e-9).all()
    assert was.event.tolist() == [True, True, True, False], "the targets themselves are left alone"


# What a plugin hands back


def good(**changes: Any) -> SurvivalPrediction:
    fine = SurvivalPrediction(IDS, np.array([1.0, 2.0, 3.0]), np.tile([0.9, 0.5], (3, 1)), TIMES)
    return replace(fine, **changes)


def test_a_good_prediction_comes_back_in_double_precision() -> None:
    made = checked(good(risk=np.array([1, 2, 3], dtype=np.float32), ids=list(IDS)), IDS, "model x")
    assert (made.ids, made.risk.tolist()) == (IDS, [1.0, 2.0, 3.0])
    assert made.risk.dtype == np.float64
    assert checked(good(survival=None, times=None), IDS, "model x").survival is None


def test_survival_may_round_but_not_rise() -> None:
    checked(good(survival=np.tile([0.5, 0.5 + 1e-8], (3, 1))), IDS, "model x")
    checked(good(survival=np.tile([1 + 1e-8, -1e-8], (3, 1))), IDS, "model x")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ids": ("a", "c", "b")}, "not the 3 it was given, in order"),
        ({"ids": ("a", "b")}, "predicted 2 cases, not the 3"),
        ({"risk": np.zeros(2)}, r"risk has shape \(2,\), expected \(3,\)"),
        ({"risk": np.zeros((3, 1))}, r"risk has shape \(3, 1\), expected \(3,\)"),
        ({"risk": np.array([1.0, np.nan, 2.0])}, "risk of case 'b' is nan; training may have diverged"),
        ({"risk": np.array([1.0, 2.0, np.inf])}, "risk of case 'c' is inf"),
        ({"times": None}, "must be given together"),
        ({"survival": None}, "must be given together"),
        ({"survival": np.ones((3, 3))}, r"survival has shape \(3, 3\), expected \(3, 2\)"),
        ({"survival": np.ones((3, 0)), "times": np.zeros(0)}, "times of survival must be positive, ascending months"),
        ({"survival": np.tile([0.9, np.nan], (3, 1))}, r"outside \[0, 1\]"),
        ({"survival": np.tile([1.1, 0.5], (3, 1))}, r"outside \[0, 1\]"),
        ({"survival": np.tile([0.5, -0.1], (3, 1))}, r"outside \[0, 1\]"),
        ({"survival": np.tile([0.5, 0.6], (3, 1))}, "survival rises with time"),
        ({"times": np.array([20.0, 10.0])}, "positive, ascending months, not .20.0, 10.0."),
        ({"times": np.array([10.0, 10.0])}, "positive, ascending months"),
        ({"times": np.array([0.0, 10.0])}, "positive, ascending months"),
        ({"times": np.array([10.0, np.inf])}, "positive, ascending months"),
    ],
)
def test_a_broken_promise_names_the_model(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(PluginError, match=f"^model x: .*{said}"):
        checked(good(**changes), IDS, "model x")


@pytest.mark.parametrize("rubbish", [None, np.zeros(3), (IDS, np.zeros(3))])
def test_something_else_than_a_prediction_names_the_model(rubbish: Any) -> None:
    with pytest.raises(PluginError, match=r"^model x: predicted .*, expected a SurvivalPrediction"):
        checked(rubbish, IDS, "model x")


# Priors


def test_the_prior_is_the_mean_over_training_cases() -> None:
    train = case_set({"a": {"clinical": 1.0}, "b": {"clinical": 3.0}}, targets([1.0, 2.0], [True, False]))
    model = Sums()
    prior = prior_prediction(SURVIVAL, model, train, Task(), "model x")
    assert (prior.ids, prior.risk.tolist()) == (("prior",), [2.0])
    assert prior.survival is not None
    assert prior.survival[0] == pytest.approx([(np.exp(-1) + np.exp(-3)) / 2, (np.exp(-2) + np.exp(-6)) / 2])
    assert model.targets == [None], "the harness shows no targets when it asks for predictions"
    assert prior_prediction(SURVIVAL, Sums(survival=False), train, Task(), "model x").survival is None


def test_a_case_without_modalities_gets_the_prior_and_is_never_shown() -> None:
    model = Sums()
    made, n_prior = predict_all(model, case_set(FOUR, targets([1.0] * 4, [True] * 4)), PRIOR, "model x")
    assert (made.ids, made.risk.tolist(), n_prior) == (("a", "b", "c", "d"), [3.0, 3.0, 7.0, 4.0], 1)
    assert model.asked == [("a", "b", "d")]
    assert model.targets == [None]
    assert made.survival is not None
    assert made.survival[2].tolist() == [0.9, 0.5]
    assert made.survival[3] == pytest.approx(np.exp([-4.0, -8.0]))


def test_a_prior_at_other_times_is_interpolated() -> None:
    prior = SurvivalPrediction(("prior",), np.array([7.0]), np.array([[0.5]]), np.array([20.0]))
    made, _ = predict_all(Sums(), case_set(FOUR), prior, "model x")
    assert made.survival is not None
    assert made.survival[2] == pytest.approx([0.75, 0.5])


def test_where_all_cases_are_blind_nobody_is_asked() -> None:
    model = Sums()
    made, n_prior = predict_all(model, case_set({"a": {}, "b": {}}), PRIOR, "model x")
    assert (made.risk.tolist(), n_prior, model.asked) == ([7.0, 7.0], 2, [])
    assert made.survival is not None
    assert made.survival.tolist() == [[0.9, 0.5]] * 2


def test_a_model_without_survival_has_none_for_blind_cases_either() -> None:
    prior = SurvivalPrediction(("prior",), np.array([7.0]))
    made, n_prior = predict_all(Sums(survival=False), case_set(FOUR), prior, "model x")
    assert (made.survival, made.times, n_prior) == (None, None, 1)


def test_validation_is_asked_out_of_sample() -> None:
    made, _ = predict_all(OutOfSample(), case_set(FOUR), PRIOR, "model x", validation=True)
    assert made.risk.tolist() == [103.0, 103.0, 7.0, 104.0]
    made, _ = predict_all(OutOfSample(), case_set(FOUR), PRIOR, "model x")
    assert made.risk.tolist() == [3.0, 3.0, 7.0, 4.0]


def test_a_prediction_is_checked_whoever_is_asked() -> None:
    class Short(Sums):
        def predict(self, cases: CaseSet) -> SurvivalPrediction:
            return SurvivalPrediction(cases.ids[1:], np.zeros(len(cases) - 1))

    for ask in (
        lambda: predict_all(Short(), case_set(FOUR), PRIOR, "model x"),
        lambda: predict_all(Short(), case_set(FOUR), PRIOR, "model x", validation=True),
        lambda: prior_prediction(SURVIVAL, Short(), case_set({"a": {"omic": 1.0}}), Task(), "model x"),
    ):
        with pytest.raises(PluginError, match=r"^model x: predicted"):
            ask()


# Patterns


def test_each_pattern_and_draw_hides_what_its_mask_says() -> None:
    present = {i: tuple(r) for i, r in FOUR.items()}
    masks = {p: make_masks(p, present, NAMES, 2, 0) for p in ("full", "only:omic", "half")}
    made = predict_patterns(Sums(), case_set(FOUR), masks, PRIOR, present, "model x")
    assert [(p.split, p.pattern, p.draw) for p in made] == [
        ("test", "full", 0),
        ("test", "only:omic", 0),
        ("test", "half", 0),
        ("test", "half", 1),
    ]
    full, only, *half = made
    assert (full.prediction.risk.tolist(), full.n_prior) == ([3.0, 3.0, 7.0, 4.0], 1)
    assert (only.prediction.risk.tolist(), only.n_prior) == ([2.0, 3.0, 7.0, 7.0], 2)
    assert (full.realised, only.realised) == (1 - 4 / 8, 1 - 2 / 8)
    assert all(p.prediction.risk[0] in (1.0, 2.0) for p in half)
    assert all(p.n_prior == 1 for p in half)


# Scores


class Score(Metric):
    """What a function says; a metric of the test, not of survival."""

    name = "score"

    def __init__(self, score: Callable[..., float]) -> None:
        self.score = score

    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        return self.score(prediction, test, train)


class AtTau(Score):
    name = "at-tau"
    horizon: ClassVar[Literal["own", "tau"]] = "tau"


def one(risk: list[float], pattern: str = "full", draw: int = 0, n_prior: int = 0) -> PatternPrediction:
    ids = tuple(f"c{i}" for i in range(len(risk)))
    survival = np.tile([0.9, 0.5], (len(risk), 1))
    return PatternPrediction("test", pattern, draw, SurvivalPrediction(ids, np.array(risk), survival, TIMES), n_prior)


TEST = targets([5.0, 40.0], [True, True])
TRAIN = targets([1.0, 2.0, 3.0], [True, False, True])


def first_risk(prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
    if prediction.risk[0] < 0:
        raise UndefinedMetric("negative")
    return float(prediction.risk[0])


def test_scores_are_averaged_over_draws() -> None:
    made = [one([1.0, 0.0]), *(one([value, 0.0], "half", i, i) for i, value in enumerate([2.0, 3.0, 7.0]))]
    full, half = score_patterns({"first": Score(first_risk)}, made, TEST, TRAIN, 30.0)
    assert (full.pattern, full.metric, full.value, full.reason, full.n_cases) == ("full", "first", 1.0, "", 2)
    assert (half.pattern, half.value, half.reason, half.n_prior) == ("half", 4.0, "", 1)


def test_every_metric_of_every_pattern_in_order() -> None:
    metrics = {"b": Score(first_risk), "a": Score(lambda *_: 0.0)}
    scores = score_patterns(metrics, [one([1.0, 2.0], p) for p in ("full", "half")], TEST, TRAIN, 30.0)
    assert [(s.pattern, s.metric) for s in scores] == [("full", "b"), ("full", "a"), ("half", "b"), ("half", "a")]


def test_undefined_is_nan_with_its_reason() -> None:
    (score,) = score_patterns({"first": Score(first_risk)}, [one([-1.0, 0.0])], TEST, TRAIN, 30.0)
    assert math.isnan(score.value)
    assert score.reason == "negative"


def test_a_draw_that_is_undefined_leaves_the_others_and_a_note() -> None:
    made = [one([value, 0.0], "half", i) for i, value in enumerate([2.0, -1.0, 4.0])]
    (score,) = score_patterns({"first": Score(first_risk)}, made, TEST, TRAIN, 30.0)
    assert (score.value, score.reason) == (3.0, "1 of 3 draws undefined: negative")


def test_a_metric_without_a_reason_still_gets_one() -> None:
    def undefined(*_: object) -> float:
        raise UndefinedMetric

    (score,) = score_patterns({"x": Score(undefined)}, [one([1.0, 0.0])], TEST, TRAIN, 30.0)
    assert math.isnan(score.value)
    assert score.reason == "undefined; the metric gives no reason"


def test_a_metric_that_returns_nan_has_broken_its_promise() -> None:
    with pytest.raises(PluginError, match="metric 'score' returned NaN; it must raise UndefinedMetric"):
        score_patterns({"x": Score(lambda *_: math.nan)}, [one([1.0, 0.0])], TEST, TRAIN, 30.0)


def test_a_metric_with_a_horizon_sees_targets_and_survival_up_to_it() -> None:
    seen: dict[str, tuple[SurvivalPrediction, Targets, Targets]] = {}

    def note(name: str) -> Callable[..., float]:
        def score(*given: Any) -> float:
            seen[name] = given
            return 0.0

        return score

    metrics = {"own": Score(note("own")), "tau": AtTau(note("tau"))}
    score_patterns(metrics, [one([1.0, 2.0])], TEST, TRAIN, 30.0)
    prediction, test, train = seen["own"]
    assert prediction.times is TIMES
    assert (test.time.tolist(), test.event.tolist()) == ([5.0, 40.0], [True, True])
    prediction, test, train = seen["tau"]
    assert prediction.times is not None
    assert prediction.times.tolist() == time_grid(30.0).tolist()
    assert test.event.tolist() == [True, False]
    assert test.time[1] == pytest.approx(30.0)
    assert train.time.tolist() == [1.0, 2.0, 3.0], "training targets are left as they are"


def test_a_shuffled_case_is_seen_with_anothers_modality() -> None:
    refs = {"a": {"clinical": 1.0, "omic": 10.0}, "b": {"clinical": 2.0, "omic": 20.0}, "c": {"clinical": 4.0}}
    present = {i: tuple(r) for i, r in refs.items()}
    masks = {p: make_masks(p, present, NAMES, 2, 0) for p in ("full", "shuffle:omic")}
    full, *shuffled = predict_patterns(Sums(), case_set(refs), masks, PRIOR, present, "model x")
    assert full.prediction.risk.tolist() == [11.0, 22.0, 4.0]
    assert [(p.pattern, p.draw, p.n_prior) for p in shuffled] == [("shuffle:omic", 0, 0), ("shuffle:omic", 1, 0)]
    for p in shuffled:
        assert p.prediction.ids == ("a", "b", "c")
        assert p.prediction.risk.tolist() == [21.0, 12.0, 4.0], "of two cases, each can only get the other's"
        assert p.realised == full.realised


# Steps


@dataclass
class Stepwise(Sums):
    """After the step `clinical` the risk of those who have it, after `omic` that of all."""

    names: tuple[str, str] = NAMES
    rows: tuple[int, ...] | None = None

    def predict_steps(self, cases: CaseSet) -> list[StepPrediction]:
        self.targets.append(cases.targets)
        having = tuple(i for i, case in enumerate(cases.cases) if "clinical" in case.refs)
        whole = self.predict(cases)
        named = ((self.names[0], self.rows or having), (self.names[1], tuple(range(len(cases)))))
        return [StepPrediction(name, rows, whole.take([i % len(cases) for i in rows])) for name, rows in named]


def test_each_step_is_a_pattern_and_who_has_not_taken_it_gets_the_prior() -> None:
    model, cases = Stepwise(), case_set(FOUR, targets([1.0] * 4, [True] * 4))
    first, last = predict_steps(model, cases, PRIOR, {i: tuple(refs) for i, refs in FOUR.items()}, "model m")
    assert (first.pattern, last.pattern) == ("after:clinical", "after:omic")
    assert first.prediction.ids == last.prediction.ids == tuple(FOUR)
    # c has no modality at all, and b none of the first step
    assert first.prediction.scores[:, 0].tolist() == [3.0, 7.0, 7.0, 4.0]
    assert last.prediction.scores[:, 0].tolist() == [3.0, 3.0, 7.0, 4.0]
    assert (first.n_prior, last.n_prior) == (2, 1)
    assert first.realised == last.realised == pytest.approx(4 / 8)
    assert model.targets == [None, None]


def test_a_model_without_steps_has_no_such_pattern() -> None:
    assert predict_steps(Sums(), case_set(FOUR), PRIOR, {}, "model m") == []
    assert predict_steps(Stepwise(), case_set({"c": {}}), PRIOR, {}, "model m") == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"names": ("omic", "omic")}, "after step 'omic' twice"),
        ({"names": ("a:b", "omic")}, "after step 'a:b' twice, or its name is no word"),
        ({"rows": (1, 0)}, "after clinical: rows are no ascending positions of the 3 cases"),
        ({"rows": (0, 5)}, "after clinical: rows are no ascending positions of the 3 cases"),
    ],
)
def test_steps_that_break_their_promise_name_the_model(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(PluginError, match=f"model m.*{said}"):
        predict_steps(Stepwise(**wrong), case_set(FOUR), PRIOR, {i: tuple(r) for i, r in FOUR.items()}, "model m")
