"""What holds of the controls for all inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fusionbench_controls.best_unimodal import BestUnimodal, BestUnimodalOptions
from fusionbench_controls.choice import ranked
from fusionbench_controls.coxnet import inner_folds, log_partial_likelihood
from fusionbench_controls.features import Outcomes, encode_ids, positions
from fusionbench_controls.forest import last_event_before
from fusionbench_controls.late_fusion import LateFusion, LateFusionOptions
from fusionbench_controls.members import MemberOptions, standardised, z_scores
from fusionbench_controls.trees import BoostedTrees
from fusionbench_controls.xor_unimodal import XorUnimodal
from hypothesis import given, settings
from hypothesis import strategies as st
from sksurv.ensemble import GradientBoostingSurvivalAnalysis
from sksurv.util import Surv

from fusionbench import CaseSet
from fusionbench.survival import cox_partial_likelihood
from tests.unit.control_cases import FakeContext, Scripted, fitted, numbers


@st.composite
def outcomes(draw: st.DrawFn) -> Outcomes:
    """Few distinct times, so that ties are common; at least one event; groups of rows."""
    n = draw(st.integers(2, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    event = rng.random(n) < draw(st.floats(0, 1))
    event[rng.integers(n)] = True
    group = np.unique(rng.integers(0, n, n), return_inverse=True)[1]
    return Outcomes(rng.normal(size=(n, 2)), rng.integers(1, 10, n).astype(float), event, group)


@given(outcomes(), st.floats(0, 50))
def test_partial_likelihood_is_that_of_the_cox_loss(rows: Outcomes, scale: float) -> None:
    log_risk = rows.x * scale
    value = log_partial_likelihood(log_risk, rows)
    for j in range(2):
        loss = cox_partial_likelihood(
            torch.from_numpy(log_risk[:, j]), torch.from_numpy(rows.time), torch.from_numpy(rows.event)
        )
        assert value[j] == pytest.approx(-float(loss) * rows.event.sum(), rel=1e-9, abs=1e-9)


@given(outcomes())
def test_moving_censored_times_back_keeps_every_risk_set(rows: Outcomes) -> None:
    moved = last_event_before(rows.time, rows.event)
    for time in rows.time[rows.event]:
        np.testing.assert_array_equal(rows.time >= time, moved >= time)


@given(outcomes(), st.integers(2, 6), st.integers(0, 9))
def test_inner_folds_keep_groups_and_leave_an_event_outside(rows: Outcomes, n_folds: int, seed: int) -> None:
    if len(np.unique(rows.group[rows.event])) < 2:
        return
    fold = inner_folds(rows, n_folds, np.random.default_rng(seed))
    for group in np.unique(rows.group):
        assert len(np.unique(fold[rows.group == group])) == 1
    for k in range(fold.max() + 1):
        assert rows.event[fold != k].any()
        assert (fold == k).any()


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1), unique=True))
def test_ids_survive_as_bytes(ids: list[str]) -> None:
    assert positions(encode_ids(ids), ids, "cox").tolist() == list(range(len(ids)))


BEST, XOR, LATE = (
    BestUnimodal(BestUnimodalOptions(candidates=("cox",))),
    XorUnimodal(MemberOptions(member="cox")),
    LateFusion(LateFusionOptions(member="cox")),
)


@st.composite
def cases(draw: st.DrawFn, *, least: int = 1, complete: bool = False) -> CaseSet:
    """Two modalities `a` and `b` of one small number each, so that risks are often tied; each case has one at least."""
    number, none = st.integers(-5, 5).map(float), st.none()
    whole, some = st.tuples(number, number), st.tuples(number, none) | st.tuples(none, number)
    rows = draw(st.lists(whole if complete else whole | some, min_size=least, max_size=12))
    a, b = ([row[m] for row in rows] for m in (0, 1))
    both = numbers([0.0, *a], [0.0, *b])  # one complete case first, so that each modality has a width
    return both if complete else both[1:]


def context(val: CaseSet, scale: float = -2.0) -> FakeContext:
    return fitted(XOR, val, {"a": Scripted("a"), "b": Scripted("b", scale=scale)})


@given(cases(least=3, complete=True), cases())
def test_each_xor_risk_is_the_z_score_of_the_best_member_that_is_there(val: CaseSet, test: CaseSet) -> None:
    fit_context = context(val)
    predictor = XOR.fit(val, val, fit_context)
    said, state = predictor.predict(test), predictor.state()
    risks = {"a": lambda i: test[i].bags["a"].values[0, 0], "b": lambda i: -2 * test[i].bags["b"].values[0, 0]}
    for i, case in enumerate(test.cases):
        place = next(p for p in state["order"] if "ab"[p] in test.visible(case))
        z = standardised(np.array([float(risks["ab"[place]](i))]), state["mean"][place], state["sd"][place])
        assert said.risk[i] == pytest.approx(z[0])
    assert np.isfinite(said.risk).all()
    assert np.isfinite(np.asarray(said.survival)).all()


@given(cases(least=3, complete=True), cases())
def test_xor_is_late_fusion_where_one_modality_is_there(val: CaseSet, test: CaseSet) -> None:
    fit_context = context(val)
    hidden = {c.id: frozenset(test.visible(c)[1:]) for c in test.cases}
    one_each = replace(test, hidden=hidden)
    xor, late = (m.fit(val, val, fit_context).predict(one_each) for m in (XOR, LATE))
    np.testing.assert_array_equal(xor.risk, late.risk)
    np.testing.assert_array_equal(np.asarray(xor.survival), np.asarray(late.survival))


@given(cases(least=3, complete=True), cases())
def test_the_best_one_says_its_own_or_its_prior(val: CaseSet, test: CaseSet) -> None:
    fit_context = context(val)
    predictor = BEST.fit(val, val, fit_context)
    (place,) = predictor.state()["chosen"]
    name, scale = ("a", 1) if place == 0 else ("b", -2)
    said = predictor.predict(test)
    for i, case in enumerate(test.cases):
        there = name in test.visible(case)
        assert said.risk[i] == (scale * float(test[i].bags[name].values[0, 0]) if there else 100.0)
    assert np.isfinite(np.asarray(said.survival)).all()


@given(cases(least=3, complete=True), st.lists(st.floats(0.1, 9) | st.just(float("nan")), min_size=2, max_size=2))
def test_a_ranking_names_each_member_once_and_the_best_first(val: CaseSet, losses: list[float]) -> None:
    fit_context = context(val)
    for fit, loss in zip(fit_context.members.values(), losses, strict=True):
        fit.validation_loss = loss
    ranking = ranked(fit_context.members, val, "best-unimodal")
    assert ranking.criterion == ("loss" if np.isfinite(losses).all() else "c_index")
    assert sorted(ranking.order) == [0, 1]
    first, second = ranking.score[ranking.order]
    assert first <= second if ranking.criterion == "loss" else first >= second
    assert first != second or ranking.order[0] == 0


@given(cases(least=2, complete=True), st.floats(1e-3, 100))
def test_z_scores_of_validation_risks_have_mean_0_and_sd_1_or_are_0(val: CaseSet, scale: float) -> None:
    fits = list(context(val, scale).members.values())
    for fit, (mean, sd) in zip(fits, z_scores(fits), strict=True):
        z = standardised(fit.validation.risk, mean, sd)
        assert z.mean() == pytest.approx(0, abs=1e-9)
        assert z.std(ddof=1) == pytest.approx(1 if sd > 0 else 0)


@settings(max_examples=25)
@given(outcomes(), st.integers(1, 4), st.sampled_from([0.5, 1.0]), st.integers(0, 9))
def test_boosted_trees_predict_what_scikit_survival_predicts(
    rows: Outcomes, depth: int, subsample: float, seed: int
) -> None:
    x = rows.x.astype(np.float32)
    model = GradientBoostingSurvivalAnalysis(
        n_estimators=5, max_depth=depth, subsample=subsample, learning_rate=0.3, random_state=seed
    ).fit(x, Surv.from_arrays(rows.event, rows.time))
    trees = BoostedTrees.of(model, (rows.time, rows.time))
    new = np.random.default_rng(seed).normal(size=(7, 2)).astype(np.float32)
    for asked in (x, new):
        np.testing.assert_allclose(trees.log_risk(asked), model.predict(asked), rtol=0, atol=1e-6)
    assert trees.log_risk(new)[3] == trees.log_risk(new[3:4])[0]
