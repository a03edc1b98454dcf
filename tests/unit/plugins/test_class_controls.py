"""Controls of classes: what they reach, against scikit-learn's own predictions, states, validation and members."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from fusionbench_controls.best_unimodal import OF_CLASSES, BestUnimodal, BestUnimodalOptions
from fusionbench_controls.boosting import GradientBoosting, GradientBoostingOptions
from fusionbench_controls.class_members import temperature
from fusionbench_controls.features import design_matrix
from fusionbench_controls.late_fusion import LateFusion, LateFusionOptions
from fusionbench_controls.logistic import Logistic, LogisticOptions
from fusionbench_controls.members import MemberOptions
from fusionbench_controls.random_forest import RandomForest, RandomForestOptions
from fusionbench_controls.xor_unimodal import XorUnimodal
from scipy.special import softmax
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import log_loss, roc_auc_score

from fusionbench import (
    CaseSet,
    ClassPrediction,
    ClassTarget,
    ClassTargets,
    DataError,
    FusionModel,
    Member,
    ModalitySpec,
    PluginError,
    PluginRef,
    Predictor,
    Task,
)
from tests.unit.control_cases import FakeContext, cohort, parts

TWO, THREE = ("no", "yes"), ("1", "2", "3")
MODELS: list[FusionModel] = [
    Logistic(LogisticOptions(penalties=4, inner_folds=3)),
    RandomForest(RandomForestOptions(trees=30)),
    GradientBoosting(GradientBoostingOptions(trees=30)),
]
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
each_task = pytest.mark.parametrize("classes", [TWO, THREE], ids=["binary", "multiclass"])


def classed(classes: tuple[str, ...], n: int = 160, seed: int = 0) -> CaseSet:
    """The first column of `a` says the class, `b` is noise."""
    made = cohort(n, seed=seed)
    score = np.array([case.refs["a"][0, 0] for case in made.cases])
    noisy = score + 0.3 * np.random.default_rng(seed + 1).standard_normal(n)
    label = np.searchsorted(np.quantile(noisy, np.linspace(0, 1, len(classes) + 1)[1:-1]), noisy)
    cases = tuple(replace(c, target=ClassTarget(classes[k])) for c, k in zip(made.cases, label, strict=True))
    return replace(made, cases=cases, targets=ClassTargets(label.astype(np.int64)))


def context(cases: CaseSet, classes: tuple[str, ...], **members: Any) -> FakeContext:
    kind = "binary" if len(classes) == 2 else "multiclass"
    return FakeContext(cases.specs, task=Task(kind, len(classes), classes=classes), **members)


def fit(model: FusionModel, classes: tuple[str, ...]) -> tuple[Predictor, FakeContext, CaseSet, CaseSet, CaseSet]:
    train, val, test = parts(classed(classes))
    ctx = context(train, classes)
    return model.fit(train, val, ctx), ctx, train, val, test


@each_model
@each_task
def test_the_informative_column_is_found(model: FusionModel, classes: tuple[str, ...]) -> None:
    predictor, _, _, _, test = fit(model, classes)
    said = predictor.predict(test.without_targets())
    assert isinstance(said, ClassPrediction)
    assert (said.ids, said.classes) == (test.ids, classes)
    np.testing.assert_allclose(said.probability.sum(axis=1), 1.0)
    label = test.targets.label  # type: ignore[union-attr]
    auroc = np.mean([roc_auc_score(label == k, said.probability[:, k]) for k in range(len(classes))])
    assert auroc > (0.9 if len(classes) == 2 else 0.8)


@each_model
@each_task
def test_a_restored_predictor_says_the_same(model: FusionModel, classes: tuple[str, ...]) -> None:
    predictor, ctx, _, val, test = fit(model, classes)
    again = model.restore(predictor.state(), ctx)
    for cases, ask in ((test, "predict"), (val, "predict_validation")):
        one, other = (getattr(p, ask)(cases.without_targets()) for p in (predictor, again))
        assert np.array_equal(one.probability, other.probability)


@each_model
def test_a_prediction_does_not_depend_on_the_other_cases(model: FusionModel) -> None:
    predictor, _, _, _, test = fit(model, THREE)
    together = predictor.predict(test.without_targets()).probability  # type: ignore[union-attr]
    alone = [predictor.predict(test[i : i + 1].without_targets()).probability for i in range(5)]  # type: ignore[union-attr]
    assert np.array_equal(together[:5], np.concatenate(alone))


@each_model
def test_validation_predictions_are_out_of_sample(model: FusionModel) -> None:
    """With noise for labels, what is said of validation cases is no better than chance, of fitted ones it is."""
    train, val, _ = parts(classed(TWO, n=400))
    rng = np.random.default_rng(5)
    shuffled = [replace(c, targets=ClassTargets(rng.permutation(c.targets.label))) for c in (train, val)]  # type: ignore[union-attr]
    predictor = model.fit(*shuffled, context(train, TWO))
    asked, label = val.without_targets(), shuffled[1].targets.label  # type: ignore[union-attr]
    assert roc_auc_score(label, predictor.predict_validation(asked).scores[:, 0]) < 0.65
    assert roc_auc_score(label, predictor.predict(asked).scores[:, 0]) > 0.55


@each_model
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda cases: replace(cases, targets=None), "needs targets"),
        (lambda cases: replace(cases, targets=ClassTargets(np.zeros(len(cases), dtype=np.int64))), "0 patients"),
    ],
)
def test_what_cannot_be_fitted_is_said(model: FusionModel, spoil: Callable[[Any], Any], message: str) -> None:
    train, val, _ = parts(classed(TWO))
    with pytest.raises((DataError, PluginError), match=message):
        model.fit(spoil(train), spoil(val), context(train, TWO))


@each_task
def test_trees_say_what_scikit_learn_says(classes: tuple[str, ...]) -> None:
    train, val, test = parts(classed(classes))
    x = design_matrix(train).astype(np.float32), design_matrix(val).astype(np.float32)
    rows = np.concatenate(x)
    label = np.concatenate([train.targets.label, val.targets.label])  # type: ignore[union-attr]
    for model, theirs in ((MODELS[1], RandomForestClassifier), (MODELS[2], GradientBoostingClassifier)):
        predictor = model.fit(train, val, context(train, classes))
        seed = {"random_state": _seed(model)}
        plain = theirs(**_as_sklearn(model), **seed).fit(rows, label)
        expected = plain.predict_proba(design_matrix(test).astype(np.float32))
        made = predictor.predict(test.without_targets())
        np.testing.assert_allclose(made.probability, expected, rtol=1e-9, atol=1e-12)  # type: ignore[union-attr]


def _seed(model: FusionModel) -> int:
    """The seed that each gives to the model of all rows, for the context's seed 0."""
    states = np.random.SeedSequence(0).generate_state(2)
    return int(states[0])


def _as_sklearn(model: FusionModel) -> dict[str, Any]:
    options = model.options
    if isinstance(options, RandomForestOptions):
        return {"n_estimators": options.trees, "min_samples_leaf": options.min_leaf, "max_features": "sqrt"}
    assert isinstance(options, GradientBoostingOptions)
    return {
        "n_estimators": options.trees,
        "learning_rate": options.learning_rate,
        "max_depth": options.depth,
        "min_samples_leaf": options.min_leaf,
        "subsample": options.subsample,
        "max_features": options.max_features,
    }


def test_the_penalty_with_the_lowest_log_loss_of_inner_folds_is_chosen() -> None:
    _, ctx, *_ = fit(MODELS[0], TWO)
    losses = {step: v["log_loss"] for step, v in ctx.logged if "log_loss" in v}
    chosen = next(step for step, v in ctx.logged if "chosen_inverse_penalty" in v)
    assert len(losses) == 4
    assert losses[chosen] == min(losses.values())


def test_an_l1_part_empties_columns_of_noise() -> None:
    sparse = Logistic(LogisticOptions(penalties=6, inner_folds=3, l1_ratio=1.0))
    predictor, *_ = fit(sparse, TWO)
    coef = predictor.state()["coef"][0, 1]
    ridge, *_ = fit(MODELS[0], TWO)
    assert (coef == 0).any()
    assert coef[0] != 0
    assert not (ridge.state()["coef"][0, 1] == 0).any()


# Built on members


@dataclass
class Says:
    """A member that says what it is told of each case, by id."""

    probability: dict[str, float]

    def _of(self, ids: tuple[str, ...]) -> ClassPrediction:
        p = np.array([self.probability[i] for i in ids])
        return ClassPrediction(ids, TWO, np.stack([1 - p, p], axis=1))

    def predict(self, cases: CaseSet) -> ClassPrediction:
        return self._of(cases.ids)


@dataclass
class MemberOf:
    predictor: Says
    validation: ClassPrediction
    prior: ClassPrediction
    validation_loss: float = float("nan")


def members_of(
    model: FusionModel, cases: CaseSet, val: CaseSet, said: dict[str, dict[str, float]]
) -> dict[Member, MemberOf]:
    """Modality to what every model on it says."""
    prior = ClassPrediction(("prior",), TWO, np.array([[0.6, 0.4]]))
    task = Task("binary", 2, classes=TWO)
    made = {}
    for member in model.members(task, cases.specs):
        (name,) = member.modalities
        says = Says(said[name])
        ids = tuple(c.id for c in val.cases if name in c.refs)
        made[member] = MemberOf(says, says._of(ids), prior)
    return made


def three_cases() -> tuple[CaseSet, CaseSet]:
    """Validation cases with both modalities, and test cases of which the second lacks `a` and the third `b`."""
    made = classed(TWO, n=8)
    val, test = made[:5], made[5:]
    second, third = ({m: r for m, r in test.cases[i].refs.items() if m != gone} for i, gone in ((1, "a"), (2, "b")))
    cases = (test.cases[0], replace(test.cases[1], refs=second), replace(test.cases[2], refs=third))
    return val, replace(test, cases=cases)


def told(val: CaseSet, test: CaseSet) -> dict[str, dict[str, float]]:
    """`a` is right about validation, `b` is wrong."""
    label = val.targets.label  # type: ignore[union-attr]
    right = {i: 0.9 if k else 0.1 for i, k in zip(val.ids, label, strict=True)}
    wrong = {i: 1 - p for i, p in right.items()}
    first, second, third = test.ids
    return {"a": {**right, first: 0.9, third: 0.7}, "b": {**wrong, first: 0.5, second: 0.2}}


def test_late_fusion_averages_logits_over_the_modalities_that_are_there() -> None:
    val, test = three_cases()
    model = LateFusion(LateFusionOptions())
    ctx = context(val, TWO, members=members_of(model, val, val, told(val, test)))
    said = model.fit(val, val, ctx).predict(test.without_targets())
    mean = (np.log(0.9 / 0.1) + 0.0) / 2
    np.testing.assert_allclose(said.scores[:, 0], [mean, np.log(0.2 / 0.8), np.log(0.7 / 0.3)])


def overconfident(n: int = 2000) -> tuple[CaseSet, CaseSet, dict[str, dict[str, float]]]:
    """Validation and test cases; `a` says the logit from which the class was drawn, `b` ten times such a logit."""
    rng = np.random.default_rng(3)
    cases, logit = cohort(n), rng.standard_normal((n, 2))
    label = (rng.random(n) < 1 / (1 + np.exp(-logit.sum(axis=1)))).astype(np.int64)
    labelled = tuple(replace(c, target=ClassTarget(TWO[k])) for c, k in zip(cases.cases, label, strict=True))
    cases = replace(cases, cases=labelled, targets=ClassTargets(label))
    said = {
        name: dict(zip(cases.ids, 1 / (1 + np.exp(-scale * logit[:, column])), strict=True))
        for column, (name, scale) in enumerate((("a", 1.0), ("b", 10.0)))
    }
    return cases[: n // 2], cases[n // 2 :], said


def test_calibration_keeps_an_overconfident_member_from_outvoting_the_others() -> None:
    val, test, said = overconfident()
    label, loss, auroc = test.targets.label, {}, {}  # type: ignore[union-attr]
    for calibration in ("none", "temperature"):
        model = LateFusion(LateFusionOptions(calibration=calibration))
        ctx = context(val, TWO, members=members_of(model, val, val, said))
        predictor = model.fit(val, val, ctx)
        made = predictor.predict(test.without_targets())
        loss[calibration], auroc[calibration] = log_loss(label, made.probability), roc_auc_score(label, made.scores)
        again = model.restore(predictor.state(), ctx).predict(test.without_targets())
        assert np.array_equal(again.probability, made.probability)
    logged = {name: value for _, values in ctx.logged for name, value in values.items()}
    assert list(logged) == ["temperature/snn on a", "temperature/snn on b"]
    assert 8 < logged["temperature/snn on b"] / logged["temperature/snn on a"] < 12
    assert loss["temperature"] < 0.6 < 1 < loss["none"], loss
    assert auroc["temperature"] > auroc["none"] + 0.02, auroc


def test_without_calibration_keys_and_states_are_as_before_there_was_any() -> None:
    assert LateFusionOptions().model_dump(mode="json") == MemberOptions().model_dump(mode="json")
    assert LateFusionOptions(calibration="temperature").model_dump(mode="json")["calibration"] == "temperature"
    val, test = three_cases()
    model = LateFusion(LateFusionOptions())
    ctx = context(val, TWO, members=members_of(model, val, val, told(val, test)))
    assert model.fit(val, val, ctx).state() == {}


def test_calibration_is_for_classes() -> None:
    specs = {name: ModalitySpec(name, "vector", 6) for name in ("a", "b")}
    model = LateFusion(LateFusionOptions(calibration="temperature"))
    assert model.skip(Task("binary", 2, classes=TWO), specs) is None
    reason = "calibration=temperature is for classes; risks are put on one scale by their z-scores"
    assert model.skip(Task(), specs) == reason


def drawn(scale: float, n: int) -> tuple[ClassPrediction, np.ndarray]:
    """Probabilities whose logits are `scale` times those that three classes were drawn from, and the classes."""
    rng = np.random.default_rng(0)
    logit = 2 * rng.standard_normal((n, 3))
    label = (logit + rng.gumbel(size=logit.shape)).argmax(axis=1)
    return ClassPrediction(tuple(map(str, range(n))), THREE, softmax(scale * logit, axis=1)), label


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_the_temperature_of_three_classes_is_found(scale: float) -> None:
    said, label = drawn(scale, 4000)
    assert temperature(said, label) == pytest.approx(scale, rel=0.08)


def test_a_temperature_is_finite_where_validation_says_too_little() -> None:
    said, _ = drawn(1.0, 12)
    assert temperature(said.take([]), np.zeros(0, dtype=np.int64)) == 1.0
    without_error = said.probability.argmax(axis=1)
    assert 0.1 < temperature(said, without_error) < 2
    assert temperature(said, said.probability.argmin(axis=1)) == pytest.approx(1000, rel=1e-3)  # worse than chance
    certain = replace(said, probability=np.eye(3)[without_error])
    assert 100 < temperature(certain, without_error) < 1000


def test_the_best_member_is_that_of_the_lowest_log_loss_and_a_case_without_it_gets_its_prior() -> None:
    val, test = three_cases()
    model = BestUnimodal(BestUnimodalOptions())
    ctx = context(val, TWO, members=members_of(model, val, val, told(val, test)))
    said = model.fit(val, val, ctx).predict(test.without_targets())
    np.testing.assert_allclose(said.probability[:, 1], [0.9, 0.4, 0.7])
    assert {v for _, values in ctx.logged for v in values if v.startswith("validation_loss/")}


def test_of_classes_other_candidates_are_usual() -> None:
    spec, task = ModalitySpec("a", "vector", 6), Task("binary", 2, classes=TWO)
    usual = BestUnimodal(BestUnimodalOptions()).models_for(spec, task)
    assert [ref.name for ref in usual] == ["snn", *OF_CLASSES[1:]]
    named = BestUnimodal(BestUnimodalOptions(candidates=("cox",))).models_for(spec, task)
    assert list(named) == [PluginRef("cox")]


def test_xor_asks_the_member_with_the_highest_auroc_first() -> None:
    val, test = three_cases()
    model = XorUnimodal(MemberOptions())
    ctx = context(val, TWO, members=members_of(model, val, val, told(val, test)))
    predictor = model.fit(val, val, ctx)
    np.testing.assert_allclose(predictor.predict(test.without_targets()).probability[:, 1], [0.9, 0.2, 0.7])
    again = model.restore(predictor.state(), ctx).predict(test.without_targets())
    assert np.array_equal(again.probability, predictor.predict(test.without_targets()).probability)
