"""Best uni-modal and XOR: which of several uni-modal models speaks for a case, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fusionbench_controls.best_unimodal import BestUnimodal, BestUnimodalOptions, BestUnimodalPredictor
from fusionbench_controls.cox import Cox, CoxOptions
from fusionbench_controls.late_fusion import LateFusion, LateFusionOptions
from fusionbench_controls.members import MemberOptions, OnUnimodal, label
from fusionbench_controls.xor_unimodal import XorUnimodal
from pydantic import ValidationError
from safetensors.numpy import load, save

from fusionbench import CaseSet, DataError, ModalitySpec, PluginError, PluginRef, Predictor, SurvivalPrediction, Task
from tests.conftest import Cli
from tests.unit.control_cases import FakeContext, Fit, Scripted, cohort, fitted, numbers, parts, same

SPECS = {
    "omic": ModalitySpec("omic", "vector", 2),
    "image": ModalitySpec("image", "bag", 8),
    "map": ModalitySpec("map", "grid", 3, axes=2),
}
BEST, XOR = BestUnimodal(BestUnimodalOptions(candidates=("cox",))), XorUnimodal(MemberOptions(member="cox"))
TWO_EACH = BestUnimodal(BestUnimodalOptions(candidates=("cox", "survival-forest")))
both = pytest.mark.parametrize("model", [BEST, XOR], ids=["best", "xor"])

# Case i has its event at month i + 1: of `a` the risk falls in that order (c = 1 at scale 1), of `b` it rises.
VAL = numbers([4, 3, 2, 1], [10, 20, 30, 40])
TEST = numbers([5, None, 7], [1, 2, None])


def chosen(model: BestUnimodal, val: CaseSet, context: FakeContext) -> str:
    predictor = model.fit(val, val, context)
    assert isinstance(predictor, BestUnimodalPredictor)
    return label(predictor.member)


def logged(context: FakeContext) -> dict[str, float]:
    assert {step for step, _ in context.logged} == {0}
    return {name: value for _, values in context.logged for name, value in values.items()}


def plain() -> dict[str, Scripted]:
    return {"a": Scripted("a"), "b": Scripted("b")}


# Members


def test_default_candidates_are_the_unimodal_rows_of_the_suites() -> None:
    members = BestUnimodal(BestUnimodalOptions()).members(Task(), SPECS)
    assert [label(m) for m in members] == [
        *("snn on omic", "cox on omic", "survival-forest on omic"),
        *("abmil on image", "cox on image", "survival-forest on image"),
        *("abmil on map", "cox on map", "survival-forest on map"),
    ]
    assert [label(m) for m in XorUnimodal(MemberOptions()).members(Task(), SPECS)] == [
        *("snn on omic", "abmil on image", "abmil on map")
    ]


def test_candidates_may_be_one_name_have_options_and_be_named_twice() -> None:
    def members(text: str) -> list[str]:
        options = BestUnimodalOptions.model_validate(dict(PluginRef.parse(text).options))
        vector = {name: spec for name, spec in SPECS.items() if spec.kind == "vector"}
        return [label(m) for m in BestUnimodal(options).members(Task(), vector)]

    assert members("best-unimodal[candidates=cox]") == ["cox on omic"]
    assert members('best-unimodal[candidates=["unimodal","snn"," snn[dropout=0.5]"]]') == [
        "snn on omic",
        "snn[dropout=0.5] on omic",
    ]
    with pytest.raises(ValidationError, match="at least 1 item"):
        BestUnimodalOptions(candidates=())


@both
def test_one_modality_is_skipped_with_a_reason(model: OnUnimodal) -> None:
    reason = f"{model.name.split('-')[0]} unimodal needs at least two modalities, not omic"
    assert model.skip(Task(), {"omic": SPECS["omic"]}) == reason
    assert model.skip(Task(), SPECS) is None


# The choice


def test_the_lowest_validation_loss_is_best_where_every_candidate_has_one() -> None:
    context = fitted(BEST, VAL, plain(), losses={"a": 1.5, "b": 1.25})
    assert chosen(BEST, VAL, context) == "cox on b"  # although its c-index is 0
    assert logged(context) == {
        "validation_loss/cox on a": 1.5,
        "validation_loss/cox on b": 1.25,
        "rank/cox on a": 2.0,
        "rank/cox on b": 1.0,
    }


def test_the_highest_c_index_is_best_for_all_where_one_has_no_loss() -> None:
    losses = {"cox on a": 1.5, "cox on b": 1.25, "survival-forest on b": 1.0}
    said = {**plain(), "survival-forest on a": Scripted("a", scale=-1.0)}
    context = fitted(TWO_EACH, VAL, said, losses)
    assert chosen(TWO_EACH, VAL, context) == "cox on a"
    assert {name: value for name, value in logged(context).items() if "c_index" in name} == {
        "validation_c_index/cox on a": 1.0,
        "validation_c_index/survival-forest on a": 0.0,
        "validation_c_index/cox on b": 0.0,
        "validation_c_index/survival-forest on b": 0.0,
    }
    assert not any("loss" in name for name in logged(context))


def test_losses_over_other_cases_are_not_compared() -> None:
    val = numbers([4, 3, 2, 1], [10, 20, None, 40])
    context = fitted(BEST, val, plain(), losses={"a": 1.5, "b": 1.25})
    assert chosen(BEST, val, context) == "cox on a"


def test_the_best_one_counts_with_its_prior_where_its_modality_is_missing() -> None:
    """`a` ranks its two cases well, `b` nearly all: what a row predicts for everybody is what it is chosen by."""
    val = numbers([2, 1, None, None, None, None], [60, 40, 50, 30, 20, 10])
    context = fitted(BEST, val, plain())
    assert chosen(BEST, val, context) == "cox on b"
    scores = logged(context)
    assert scores["validation_c_index/cox on b"] == pytest.approx(14 / 15)
    # all pairs: the two of `a` against the prior of 100 are the wrong way round, and priors are tied
    assert scores["validation_c_index/cox on a"] == pytest.approx((1 + 6 * 0.5) / 15)


def test_xor_judges_a_member_on_the_cases_that_have_its_modality() -> None:
    val = numbers([2, 1, None, None, None, None], [60, 40, 50, 30, 20, 10])
    context = fitted(XOR, val, plain())
    state = XOR.fit(val, val, context).state()
    assert state["order"].tolist() == [0, 1]
    assert logged(context)["validation_c_index/cox on a"] == 1.0


def test_xor_judges_by_order_even_where_every_member_has_a_loss() -> None:
    context = fitted(XOR, VAL, plain(), losses={"a": 1.5, "b": 1.25})
    XOR.fit(VAL, VAL, context)
    assert logged(context)["rank/cox on a"] == 1.0
    assert not any("loss" in name for name in logged(context))


def test_training_masks_hide_what_a_member_is_judged_on() -> None:
    hidden = replace(VAL, hidden={case: frozenset({"b"}) for case in VAL.ids})
    context = fitted(BEST, VAL, {"a": Scripted("a", scale=-1.0), "b": Scripted("b")})
    chosen(BEST, hidden, context)
    assert logged(context)["validation_c_index/cox on b"] == 0.5  # every case has its prior
    assert logged(context)["validation_c_index/cox on a"] == 0.0


@both
def test_of_equals_the_first_is_best(model: OnUnimodal) -> None:
    falling = numbers([4, 3, 2, 1], [40, 30, 20, 10])
    for losses in ({}, {"a": 1.0, "b": 1.0}):
        context = fitted(model, falling, plain(), losses)
        model.fit(falling, falling, context)
        assert (logged(context)["rank/cox on a"], logged(context)["rank/cox on b"]) == (1.0, 2.0)


@both
def test_a_member_whose_c_index_is_undefined_comes_last(model: OnUnimodal) -> None:
    val = numbers([1, 2, 3, 4], [None, None, None, 10])
    context = fitted(model, val, plain())
    model.fit(val, val, context)
    names = logged(context)
    if model is XOR:  # judged on one case
        assert names["rank/cox on b"] == 2.0
        assert "validation_c_index/cox on b" not in names
    assert names["validation_c_index/cox on a"] == 0.0


@both
def test_a_choice_without_evidence_is_refused(model: OnUnimodal) -> None:
    assert VAL.targets is not None
    censored = replace(VAL, targets=replace(VAL.targets, event=np.zeros(4, dtype=bool)))
    with pytest.raises(DataError, match=r"no two validation cases can be compared, .*raise protocol.validation"):
        model.fit(censored, censored, fitted(model, censored, plain()))


def test_a_loss_is_evidence_where_no_two_cases_can_be_compared() -> None:
    assert VAL.targets is not None
    censored = replace(VAL, targets=replace(VAL.targets, event=np.zeros(4, dtype=bool)))
    assert chosen(BEST, censored, fitted(BEST, censored, plain(), losses={"a": 2.0, "b": 1.0})) == "cox on b"


# Best uni-modal


def test_it_says_what_the_chosen_member_says_and_its_prior_elsewhere() -> None:
    said = {"a": Scripted("a", times=(3.0, 12.0)), "b": Scripted("b")}
    predictor = BEST.fit(VAL, VAL, fitted(BEST, VAL, said))
    prediction = predictor.predict(TEST)
    own = Scripted("a", times=(3.0, 12.0)).predict(TEST.restrict(("a",)).take([0, 2]))
    assert prediction.ids == TEST.ids
    assert prediction.risk.tolist() == [5.0, 100.0, 7.0]
    assert prediction.survival is not None
    assert own.survival is not None
    np.testing.assert_array_equal(prediction.survival[[0, 2]], own.survival)
    np.testing.assert_allclose(prediction.survival[1], [0.95, 0.8])  # the prior's, at the member's times
    np.testing.assert_array_equal(np.asarray(prediction.times), [3.0, 12.0])


def test_cases_that_all_lack_the_modality_get_the_prior() -> None:
    predictor = BEST.fit(VAL, VAL, fitted(BEST, VAL, plain()))
    said = predictor.predict(replace(TEST, hidden={case: frozenset({"a"}) for case in TEST.ids}).take([0, 1]))
    assert said.risk.tolist() == [100.0, 100.0]
    assert said.survival is not None
    assert said.survival.tolist() == [[0.9, 0.8]] * 2


def test_no_survival_where_the_chosen_member_has_none() -> None:
    predictor = BEST.fit(VAL, VAL, fitted(BEST, VAL, {"a": Scripted("a", times=None), "b": Scripted("b")}))
    said = predictor.predict(TEST)
    assert said.survival is None
    assert said.times is None


# XOR


def test_the_best_member_speaks_whose_modality_is_there() -> None:
    said = {"a": Scripted("a"), "b": Scripted("b", scale=-2.0)}
    val = numbers([4, 3, 1, 2], [10, 20, 30, 40])
    context = fitted(XOR, val, said)
    predictor = XOR.fit(val, val, context)  # c is 5/6 for a, 1 for b
    assert logged(context)["rank/cox on b"] == 1.0
    prediction = predictor.predict(TEST)
    # a: mean 2.5, sd 1.29; b: -50 and 25.8
    np.testing.assert_allclose(prediction.risk, [(-2 + 50) / 25.8199, (-4 + 50) / 25.8199, 4.5 / 1.29099], rtol=1e-4)
    assert [cases.ids for cases in said["b"].asked] == [("case-0", "case-1")]
    assert [cases.ids for cases in said["a"].asked] == [("case-2",)]
    times = np.array([6.0, 12.0])
    expected = np.exp(-np.outer(1 / (1 + np.exp(-np.array([-2.0, -4.0, 7.0]))), times) / 10)
    np.testing.assert_allclose(np.asarray(prediction.survival), expected)


def test_survival_is_given_at_all_times_of_all_members() -> None:
    said = {"a": Scripted("a", times=(6.0, 12.0)), "b": Scripted("b", times=(3.0, 24.0))}
    prediction = XOR.fit(VAL, VAL, fitted(XOR, VAL, said)).predict(TEST)
    assert np.asarray(prediction.times).tolist() == [3.0, 6.0, 12.0, 24.0]
    assert np.isfinite(np.asarray(prediction.survival)).all()
    none = {"a": Scripted("a"), "b": Scripted("b", times=None)}
    assert XOR.fit(VAL, VAL, fitted(XOR, VAL, none)).predict(TEST).survival is None


def test_a_constant_member_says_the_mean() -> None:
    said = {"a": Scripted("a"), "b": Scripted("b", scale=0.0)}
    prediction = XOR.fit(VAL, VAL, fitted(XOR, VAL, said)).predict(TEST)
    assert prediction.risk[1] == 0.0


def test_where_one_modality_is_there_xor_and_late_fusion_agree() -> None:
    one_each = numbers([5, None, 2, None], [None, 2, None, 7])
    late = LateFusion(LateFusionOptions(member="cox"))
    assert same(*(m.fit(VAL, VAL, fitted(m, VAL, plain())).predict(one_each) for m in (XOR, late)))


# What both share


@both
def test_members_see_no_labels_and_their_own_modality_only(model: OnUnimodal) -> None:
    said = plain()
    predictor = model.fit(VAL, VAL, fitted(model, VAL, said))
    assert same(predictor.predict(TEST), predictor.predict(TEST.without_targets()))
    for member in said.values():
        for cases in member.asked:
            assert tuple(cases.specs) == (member.modality,)
            assert cases.targets is None
            assert all(case.target is None for case in cases.cases)


@both
def test_a_hidden_modality_is_a_missing_one(model: OnUnimodal) -> None:
    predictor = model.fit(VAL, VAL, fitted(model, VAL, plain()))
    hidden = replace(numbers([5, 9], [30, 8]), hidden={"case-0": frozenset({"a"})})
    missing = numbers([None, 9], [30, 8])
    assert same(predictor.predict(hidden), predictor.predict(missing))
    assert not same(predictor.predict(hidden), predictor.predict(numbers([5, 9], [30, 8])))


@both
def test_validation_uses_the_members_out_of_sample_predictions(model: OnUnimodal) -> None:
    context = fitted(model, VAL, plain())
    predictor = model.fit(VAL, VAL, context)
    before = predictor.predict(VAL)
    for fit in context.members.values():
        fit.predictor = None  # nobody may ask it again
    assert same(predictor.predict_validation(VAL.without_targets()), before)
    with pytest.raises(PluginError, match="cox on a: 'case-4' has 'a' but was no validation case"):
        predictor.predict_validation(numbers([4, 3, 2, 1, 5], [10, 20, 30, 40, None]))


def real_members(model: OnUnimodal, train: CaseSet, val: CaseSet) -> FakeContext:
    context = FakeContext(train.specs)
    for member in model.members(context.task, train.specs):
        one = [part.restrict(member.modalities) for part in (train, val)]
        cox = Cox(CoxOptions()).fit(one[0], one[1], FakeContext(one[0].specs))
        context.members[member] = Fit(cox, cox.predict_validation(one[1].without_targets()), _prior(cox, one[0]))
    return context


def _prior(predictor: Predictor, train: CaseSet) -> SurvivalPrediction:
    said = predictor.predict(train.without_targets())
    assert said.survival is not None
    return SurvivalPrediction(("prior",), said.risk[:1], said.survival[:1], said.times)


@both
def test_it_is_restored_from_its_members_and_its_choice(model: OnUnimodal) -> None:
    train, val, test = parts(cohort(200))
    context = real_members(model, train, val)
    predictor = model.fit(train, val, context)
    assert logged(context)["rank/cox on a"] == 1.0
    some_lack_a = replace(test, hidden=dict.fromkeys(test.ids[::3], frozenset({"a"}))).without_targets()
    stored = load(save(dict(predictor.state())))
    for fit in context.members.values():
        fit.validation_loss = 1.0 if fit is context.members[list(context.members)[1]] else 2.0
    restored = model.restore(stored, context)  # the choice is what was chosen, not made again
    for cases in (test.without_targets(), some_lack_a):
        said = predictor.predict(cases)
        assert same(said, restored.predict(cases))
        assert np.isfinite(said.risk).all()
        assert np.isfinite(np.asarray(said.survival)).all()
    assert same(predictor.predict_validation(val), restored.predict_validation(val))
    assert (predictor.predict(test).risk != predictor.predict(some_lack_a).risk).sum() >= len(test.ids[::3]) - 1


def test_best_of_real_members_is_bit_for_bit_that_member() -> None:
    train, val, test = parts(cohort(200))
    context = real_members(BEST, train, val)
    said = BEST.fit(train, val, context).predict(test.without_targets())
    alone = next(iter(context.members.values())).predictor.predict(test.restrict(("a",)).without_targets())
    assert same(said, alone)


@pytest.mark.slow
def test_they_run_from_the_command_line_to_the_table(cli: Cli, tmp_path: Path) -> None:
    wanted: Mapping[str, str] = {
        "gradient-boosting[trees=20]": "impute",
        "best-unimodal[candidates=cox]": "native",
        "xor-unimodal[vector=cox]": "native",
        "late-fusion[vector=cox]": "native",
    }
    models = [flag for model in wanted for flag in ("-m", model)]
    result = cli("run", "quickstart", "-d", "synthetic", *models, "--folds", "0", "--no-track")
    assert result.returncode == 0, result.stderr
    table = pd.read_csv(tmp_path / "results/quickstart/table.partial.csv")
    rows = table[(table["modalities"] == "vector+bag") & (table["metric"] == "harrell_c_index")]
    for model, policy in wanted.items():
        own = rows[rows["model"] == model]
        assert sorted(own["pattern"]) == ["full", "half"]
        assert set(own["policy"]) == {policy}
        assert own["mean"].between(0, 1).all()
    half = rows[rows["pattern"] == "half"].set_index("model")["mean"]
    assert half["xor-unimodal[vector=cox]"] == pytest.approx(half["late-fusion[vector=cox]"])
