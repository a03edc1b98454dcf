"""Classes as a task: targets and their faults, strata, probabilities from logits, what is stored of a prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fusionbench.core.endpoints import ClassPrediction, ClassTarget, SurvivalPrediction, SurvivalTarget, Task
from fusionbench.core.errors import PluginError
from fusionbench.core.protocol import Protocol, TrainRecipe
from fusionbench.core.types import DatasetInfo
from fusionbench.tasks import KINDS, kind_of, kind_of_target, kind_with
from fusionbench.tasks.classes import Classes

YES_NO = DatasetInfo("toy", {}, endpoint="response", task="binary", classes=("no", "yes"))
THREE = DatasetInfo("toy", {}, endpoint="grade", task="multiclass", classes=("1", "2", "3"))
BINARY, MULTI = Classes("binary"), Classes("multiclass")


def targets(*labels: str) -> list[ClassTarget]:
    return [ClassTarget(label) for label in labels]


def prediction(*rows: list[float], classes: tuple[str, ...] = ("no", "yes")) -> ClassPrediction:
    return ClassPrediction(tuple(f"case-{i}" for i in range(len(rows))), classes, np.array(rows))


# Kinds


def test_each_kind_is_found_by_what_it_is_about() -> None:
    assert kind_of(prediction([0.2, 0.8])) is KINDS["binary"]
    assert kind_of(SurvivalPrediction(("a",), np.zeros(1))) is KINDS["survival"]
    assert kind_with(("1", "2", "3")) is KINDS["multiclass"]
    assert kind_with(()) is KINDS["survival"]
    assert kind_of_target(SurvivalTarget(1.0, event=True)) is KINDS["survival"]


# Targets


def test_an_unknown_class_names_the_near_one() -> None:
    assert BINARY.target_problem(ClassTarget("yes"), YES_NO) == ""
    assert "did you mean 'yes'" in BINARY.target_problem(ClassTarget("Yes"), YES_NO)
    assert "SurvivalTarget" in BINARY.target_problem(SurvivalTarget(1.0, event=True), YES_NO)
    assert "ClassTarget" in KINDS["survival"].target_problem(ClassTarget("yes"), DatasetInfo("toy", {}))


def test_a_cohort_needs_a_case_of_every_class() -> None:
    assert BINARY.cohort_problem(targets("no", "yes"), YES_NO) == ""
    assert "no case is of class 'yes' (no: 2)" in BINARY.cohort_problem(targets("no", "no"), YES_NO)
    assert "three classes or more" in MULTI.cohort_problem(targets("no", "yes"), YES_NO)


def test_a_part_of_a_fold_needs_every_class() -> None:
    everyone = targets("1", "2", "3", "1")
    check = MULTI.part_check(everyone)
    assert check(everyone) == ""
    assert check(targets("1", "3")) == "is of class '2'"


def test_the_rarest_class_is_balanced_first() -> None:
    assert BINARY.strata(targets("no", "no", "yes")) == [1, 1, 0]
    assert BINARY.strata(targets("yes", "yes", "no")) == [1, 1, 0]
    assert MULTI.strata(targets("3", "1", "1", "2", "2", "2")) == [0, 1, 1, 2, 2, 2]


def test_targets_are_positions_in_the_order_of_the_classes() -> None:
    task = BINARY.planned(Protocol(), TrainRecipe(), YES_NO, 2)
    assert BINARY.arrays(targets("yes", "no"), task).label.tolist() == [1, 0]
    assert BINARY.counts(targets("yes", "no", "yes"), YES_NO, 4) == {"classes": {"no": 1, "yes": 2}}


# Planning


@pytest.mark.parametrize(("info", "outputs", "width"), [(YES_NO, 2, 2), (YES_NO, 1, 1), (THREE, 1, 3), (THREE, 2, 3)])
def test_a_model_has_one_output_a_class_or_one_for_two(info: DatasetInfo, outputs: int, width: int) -> None:
    kind = KINDS[info.task]
    task = kind.planned(Protocol(), TrainRecipe(), info, outputs)  # type: ignore[arg-type]
    assert (task.n_outputs, task.classes, task.kind) == (width, info.classes, info.task)
    assert kind.task_of(kind.record(task)) == task


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"loss": "cox"}, "'cox' is for survival"), ({"alpha": 0.4}, "alpha"), ({"clamp": 1e-7}, "clamp")],
)
def test_a_recipe_of_survival_is_refused(changes: dict[str, object], said: str) -> None:
    assert said in BINARY.recipe_problem(TrainRecipe.model_validate(changes))
    assert BINARY.recipe_problem(TrainRecipe(class_weights="inverse", label_smoothing=0.1)) == ""
    assert "for classes" in KINDS["survival"].recipe_problem(TrainRecipe(label_smoothing=0.1))


# Predictions


def test_one_logit_and_two_say_the_same() -> None:
    one, two = torch.tensor([[0.7], [-40.0]]).double(), torch.tensor([[0.0, 0.7], [0.0, -40.0]]).double()
    ids, task = ("a", "b"), Task("binary", 1, classes=("no", "yes"))
    by_one, by_two = (BINARY.prediction(ids, logits, task, {}).probability for logits in (one, two))
    np.testing.assert_allclose(by_one, by_two, rtol=1e-12)
    assert by_one[0, 1] == pytest.approx(1 / (1 + np.exp(-0.7)))


def test_scores_are_log_odds_that_tell_apart_what_is_nearly_sure() -> None:
    said = prediction([1e-12, 1 - 1e-12], [1e-14, 1.0], [0.5, 0.5], [1.0, 0.0])
    scores = said.scores[:, 0]
    assert scores[1] > scores[0] > scores[2] == 0.0
    assert np.isfinite(scores).all()
    assert prediction([0.2, 0.3, 0.5], classes=("1", "2", "3")).scores.shape == (1, 3)


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (prediction([0.2, 0.7]), "sum to 1"),
        (prediction([-0.2, 1.2]), "sum to 1"),
        (prediction([np.nan, 1.0]), "'case-0' is not finite"),
        (prediction([0.2, 0.8], classes=("yes", "no")), "the classes ['yes', 'no'], expected ['no', 'yes']"),
        (prediction([0.2, 0.3, 0.5]), "shape (1, 3), expected (case, class) = (1, 2)"),
        (ClassPrediction(("b",), ("no", "yes"), np.array([[0.5, 0.5]])), "predicted 1 cases"),
        (SurvivalPrediction(("case-0",), np.zeros(1)), "SurvivalPrediction, expected a ClassPrediction"),
    ],
)
def test_a_prediction_that_breaks_its_promise_is_refused(said: object, what: str) -> None:
    with pytest.raises(PluginError, match=r"^model x: ") as refused:
        BINARY.checked(said, ("case-0",), "model x", ("no", "yes"))
    assert what in str(refused.value)


def test_cases_without_a_modality_get_the_mean() -> None:
    made = prediction([0.2, 0.8], [0.6, 0.4])
    prior = BINARY.mean(made, "prior")
    assert prior.ids == ("prior",)
    np.testing.assert_allclose(prior.probability, [[0.4, 0.6]])
    np.testing.assert_allclose(
        BINARY.filled(("a", "b", "c"), prior, [0, 2], made).probability, [[0.2, 0.8], [0.4, 0.6], [0.6, 0.4]]
    )
    assert BINARY.filled(("a",), prior, [], None).probability.tolist() == prior.probability.tolist()
    again = BINARY.of_values("prior", BINARY.values(prior))
    assert (again.classes, again.probability.tolist()) == (prior.classes, prior.probability.tolist())
