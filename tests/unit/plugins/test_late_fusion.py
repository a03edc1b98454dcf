"""Late fusion: z-scored risks of one model per modality, summed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from fusionbench_controls.cox import Cox, CoxOptions
from fusionbench_controls.late_fusion import LateFusion, LateFusionOptions
from pydantic import ValidationError
from safetensors.numpy import load, save

from fusionbench import CaseSet, ModalitySpec, PluginError, PluginRef, SuiteError, Task
from tests.conftest import Cli
from tests.unit.control_cases import (
    PRIOR,
    FakeContext,
    Fit,
    Scripted,
    cohort,
    concordance,
    fitted,
    numbers,
    parts,
    same,
)

COX = Cox(CoxOptions())


def fused(val: CaseSet, members: Mapping[str, Scripted]) -> tuple[LateFusion, FakeContext]:
    """A late-fusion model and a context that has its members."""
    model = LateFusion(LateFusionOptions(member="cox"))
    return model, fitted(model, val, members)


VAL = numbers([1, 2, 3, None], [10, None, 30, 50])


def test_default_members_follow_the_kind_of_modality() -> None:
    specs = {
        "clinical": ModalitySpec("clinical", "vector", 2),
        "image": ModalitySpec("image", "bag", 8),
        "map": ModalitySpec("map", "grid", 3, axes=2),
    }
    members = LateFusion(LateFusionOptions()).members(Task(), specs)
    assert [(str(m.model), m.modalities) for m in members] == [
        ("snn", ("clinical",)),
        ("abmil", ("image",)),
        ("abmil", ("map",)),
    ]
    named = LateFusion(LateFusionOptions(member="survival-forest[min_leaf=5]")).members(Task(), specs)
    assert {m.model for m in named} == {PluginRef.of("survival-forest", min_leaf=5)}
    with pytest.raises(SuiteError, match="cannot read"):
        LateFusionOptions(member="cox[")


def test_vector_and_bag_choose_by_the_kind_of_modality() -> None:
    specs = {"omic": ModalitySpec("omic", "vector", 2), "image": ModalitySpec("image", "bag", 8)}

    def models(text: str) -> list[str]:
        options = LateFusionOptions.model_validate(dict(PluginRef.parse(text).options))
        return [str(m.model) for m in LateFusion(options).members(Task(), specs)]

    assert models("late-fusion[vector=cox]") == ["cox", "abmil"]
    assert models("late-fusion[vector=cox,bag=survival-forest]") == ["cox", "survival-forest"]
    assert models("late-fusion[member=unimodal,bag=cox]") == ["snn", "cox"]
    assert models('late-fusion[vector="snn[dropout=0.5]"]') == ["snn[dropout=0.5]", "abmil"]
    assert models("late-fusion[vector=snn[ dropout = 0.5 ]]") == ["snn[dropout=0.5]", "abmil"]
    with pytest.raises(ValidationError, match="member=cox puts one model on every modality; leave out bag and vector"):
        LateFusionOptions(member="cox", vector="snn", bag="abmil")
    with pytest.raises(SuiteError, match="cannot read"):
        LateFusionOptions(vector="snn[")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("late-fusion[vector=cxo]", "late-fusion[vector=cxo] is built on cxo: unknown model 'cxo'; did you mean 'cox'"),
        ("late-fusion[bag=abmil[widht=8]]", "unknown option 'widht'; did you mean 'width'"),
        ("late-fusion[vectr=cox]", "unknown option 'vectr'; did you mean 'vector'"),
        ("xor-unimodal[member=snnn]", "unknown model 'snnn'; did you mean 'snn'"),
        ('best-unimodal[candidates=["cox","coxx"]]', "unknown model 'coxx'; did you mean 'cox'"),
    ],
)
def test_what_is_misspelt_is_found_while_planning(cli: Cli, model: str, said: str) -> None:
    result = cli("run", "quickstart", "-d", "synthetic", "-m", model, "--dry-run")
    assert result.returncode == 2
    assert said in " ".join(result.stderr.split())


def test_a_member_that_cannot_take_its_modality_shows_its_reason(cli: Cli) -> None:
    result = cli("run", "quickstart", "-d", "synthetic", "-m", "late-fusion[bag=snn]", "--dry-run")
    assert "vector+bag: its member snn on bag cannot run: takes vectors only" in " ".join(result.stdout.split())


def test_one_modality_is_skipped_with_a_reason() -> None:
    model = LateFusion(LateFusionOptions())
    spec = ModalitySpec("omic", "vector", 2)
    assert model.skip(Task(), {"omic": spec}) == "late fusion needs at least two modalities, not omic"
    assert model.skip(Task(), {"omic": spec, "image": spec}) is None


def test_risk_is_the_sum_of_z_scores_of_the_modalities_a_case_has() -> None:
    members = {"a": Scripted("a"), "b": Scripted("b", scale=-2.0)}
    model, context = fused(VAL, members)
    predictor = model.fit(VAL, VAL, context)
    test = numbers([5, None, 2], [30, 70, None])
    said = predictor.predict(test.without_targets())
    # a: validation mean 2, sd 1; b: risks -20, -60, -100, so mean -60, sd 40
    np.testing.assert_allclose(said.risk, [3 + 0, (-140 + 60) / 40, 0])
    assert [cases.ids for cases in members["b"].asked] == [("case-0", "case-1")]
    assert all(tuple(cases.specs) == (m.modality,) for m in members.values() for cases in m.asked)
    assert all(cases.targets is None for m in members.values() for cases in m.asked)
    assert context.logged[1] == (0, {"validation_mean/b": -60.0, "validation_sd/b": 40.0})


def test_a_hidden_modality_is_a_missing_one() -> None:
    model, context = fused(VAL, {"a": Scripted("a"), "b": Scripted("b")})
    predictor = model.fit(VAL, VAL, context)
    shown, hidden = numbers([5], [30]), replace(numbers([5], [30]), hidden={"case-0": frozenset({"a"})})
    assert predictor.predict(hidden).risk != predictor.predict(shown).risk
    assert predictor.predict(hidden).risk == predictor.predict(numbers([None, 1], [30, 1])[:1]).risk


def test_survival_is_the_mean_of_the_members_that_speak() -> None:
    members = {"a": Scripted("a"), "b": Scripted("b", times=(3.0, 6.0, 12.0, 24.0))}
    model, context = fused(VAL, members)
    said = model.fit(VAL, VAL, context).predict(numbers([0.5, None], [1.0, 2.0]))
    np.testing.assert_array_equal(np.asarray(said.times), [3, 6, 12, 24])
    a, b = (
        np.exp(-np.outer(1 / (1 + np.exp(-np.array(risk))), times) / 10)
        for risk, times in (([0.5], (6, 12)), ([1.0, 2.0], (3, 6, 12, 24)))
    )
    a_there = [(1 + a[0, 0]) / 2, a[0, 0], a[0, 1], a[0, 1]]  # linear through S(0) = 1, flat behind the last time
    assert said.survival is not None
    np.testing.assert_allclose(said.survival, [(a_there + b[0]) / 2, b[1]])


def test_no_survival_where_a_member_has_none() -> None:
    model, context = fused(VAL, {"a": Scripted("a"), "b": Scripted("b", times=None)})
    said = model.fit(VAL, VAL, context).predict(numbers([1], [2]))
    assert said.survival is None
    assert said.times is None


def test_a_constant_member_adds_nothing_and_is_logged() -> None:
    model, context = fused(VAL, {"a": Scripted("a"), "b": Scripted("b", scale=0.0)})
    predictor = model.fit(VAL, VAL, context)
    assert context.logged[1][1] == {"validation_mean/b": 0.0, "validation_sd/b": 0.0}
    np.testing.assert_allclose(predictor.predict(numbers([3, None], [9, 9])).risk, [1, 0])


def test_validation_uses_the_members_out_of_sample_predictions() -> None:
    model, context = fused(VAL, {"a": Scripted("a"), "b": Scripted("b")})
    predictor = model.fit(VAL, VAL, context)
    for fit in context.members.values():
        fit.predictor = None  # nobody may ask it again
    said = predictor.predict_validation(VAL.without_targets())
    np.testing.assert_allclose(said.risk, [-1 - 1, 0, 1 + 0, 1])
    with pytest.raises(PluginError, match="'case-4' has 'a' but was no validation case"):
        predictor.predict_validation(numbers([1, 2, 3, None, 5], [10, None, 30, 50, None]))


def test_late_fusion_of_cox_is_restored_from_its_members_and_scores() -> None:
    train, val, test = parts(cohort(200))
    model = LateFusion(LateFusionOptions(member="cox"))
    context = FakeContext(train.specs)
    for member in model.members(context.task, train.specs):
        one = [part.restrict(member.modalities) for part in (train, val)]
        cox = COX.fit(one[0], one[1], FakeContext(one[0].specs))
        context.members[member] = Fit(cox, cox.predict_validation(one[1].without_targets()), PRIOR)
    predictor = model.fit(train, val, context)
    restored = model.restore(load(save(dict(predictor.state()))), context)
    said = predictor.predict(test.without_targets())
    assert same(said, restored.predict(test.without_targets()))
    assert concordance(test, said) > 0.65
    assert concordance(val, predictor.predict_validation(val.without_targets())) > 0.65
