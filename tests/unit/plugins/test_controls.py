"""What the controls on plain vectors share: Cox, survival forest and gradient boosting."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fusionbench_controls import fusionbench_models
from fusionbench_controls.boosting import GradientBoosting, GradientBoostingOptions
from fusionbench_controls.cox import Cox, CoxOptions
from fusionbench_controls.features import design_matrix, encode_ids, positions
from fusionbench_controls.forest import SurvivalForest, SurvivalForestOptions
from pydantic import ValidationError
from safetensors.numpy import load, save

from fusionbench import DataError, FusionModel, ModalitySpec, PluginError, SurvivalTarget, Task
from tests.unit.control_cases import FakeContext, case_set, cohort, concordance, parts, same

COX, FOREST = Cox(CoxOptions()), SurvivalForest(SurvivalForestOptions(trees=40))
BOOSTING = GradientBoosting(GradientBoostingOptions())
each = pytest.mark.parametrize("model", [COX, FOREST, BOOSTING], ids=["cox", "forest", "boosting"])
either = pytest.mark.parametrize("model", [COX, FOREST], ids=["cox", "forest"])


def test_the_hook_offers_the_controls() -> None:
    models = {model.name: model for model in fusionbench_models()}
    plain = ["cox", "survival-forest", "logistic", "random-forest", "gradient-boosting"]
    built = ["late-fusion", "best-unimodal", "xor-unimodal"]
    assert list(models) == plain + built
    assert {models[name].missing for name in plain} == {"impute"}
    assert {models[name].missing for name in built} == {"native"}
    one = {"a": ModalitySpec("a", "bag", 3)}
    assert all(models[name](models[name].Options()).skip(Task(), one) is None for name in plain)


def test_options_are_strict() -> None:
    for options, bad in (
        (CoxOptions, {"l1_ratio": 0.0}),
        (SurvivalForestOptions, {"trees": 5}),
        (CoxOptions, {"l2": 1}),
        (GradientBoostingOptions, {"subsample": 1.5}),
        (GradientBoostingOptions, {"max_features": "all"}),
    ):
        with pytest.raises(ValidationError):
            options(**bad)


# Cases to columns


def test_design_matrix_averages_instances_in_the_order_of_the_specs() -> None:
    bags = [np.array([[1.0, 3.0], [3.0, 5.0]]), np.array([[7.0, 9.0]])]
    cases = case_set({"b": bags, "a": [np.array([[0.5]]), np.array([[1.5]])]}, np.array([1.0, 2.0]), np.ones(2, bool))
    assert design_matrix(cases).tolist() == [[2.0, 4.0, 0.5], [7.0, 9.0, 1.5]]
    assert design_matrix(cases.restrict(("a", "b"))).tolist() == [[0.5, 2.0, 4.0], [1.5, 7.0, 9.0]]


def test_design_matrix_names_the_case_that_was_not_imputed() -> None:
    cases = case_set({"a": [np.ones((1, 2)), None]}, np.array([1.0, 2.0]), np.ones(2, bool))
    with pytest.raises(PluginError, match="case 'case-1' has no 'a'"):
        design_matrix(cases)


def test_design_matrix_names_the_modality_of_another_width() -> None:
    cases = case_set({"a": [np.ones((1, 2)), np.ones((1, 3))]}, np.array([1.0, 2.0]), np.ones(2, bool))
    with pytest.raises(DataError, match="case 'case-1': 'a' has 3 columns, expected 2"):
        design_matrix(cases)


def test_ids_survive_as_bytes() -> None:
    ids = ["TCGA-2F-A9KO", "é", "653"]
    encoded = encode_ids(ids)
    assert encoded.dtype == np.uint8
    assert positions(encoded, ["653", "TCGA-2F-A9KO"], "cox").tolist() == [2, 0]
    with pytest.raises(PluginError, match="'x' was no validation case"):
        positions(encoded, ["653", "x"], "cox")
    assert encode_ids([]).shape == (0, 0)


# What the three share


@each
def test_higher_risk_means_earlier_event(model: FusionModel) -> None:
    train, val, test = parts(cohort(200, signal=2.0))
    predictor = model.fit(train, val, FakeContext(train.specs))
    assert concordance(test, predictor.predict(test.without_targets())) > 0.7
    assert concordance(val, predictor.predict_validation(val.without_targets())) > 0.6


@each
def test_survival_falls_from_at_most_one_at_event_times(model: FusionModel) -> None:
    train, val, test = parts(cohort(160))
    said = model.fit(train, val, FakeContext(train.specs)).predict(test.without_targets())
    assert said.survival is not None
    assert train.targets is not None
    assert val.targets is not None
    events = [targets.time[targets.event] for targets in (train.targets, val.targets)]
    np.testing.assert_array_equal(np.asarray(said.times), np.unique(np.concatenate(events)))
    assert said.survival.min() >= 0
    assert said.survival.max() <= 1
    assert (np.diff(said.survival, axis=1) <= 0).all()
    middle = said.survival[:, said.survival.shape[1] // 2]
    assert np.corrcoef(np.argsort(np.argsort(middle)), np.argsort(np.argsort(said.risk)))[0, 1] < -0.8


@each
def test_restored_predicts_bit_for_bit_the_same(model: FusionModel) -> None:
    train, val, test = parts(cohort(160))
    context = FakeContext(train.specs, seed=3)
    fitted = model.fit(train, val, context)
    stored = load(save(dict(fitted.state())))
    restored = model.restore(stored, context)
    assert same(fitted.predict(test.without_targets()), restored.predict(test.without_targets()))
    assert same(fitted.predict_validation(val.without_targets()), restored.predict_validation(val.without_targets()))


@each
def test_a_prediction_does_not_depend_on_the_other_cases(model: FusionModel) -> None:
    train, val, test = parts(cohort(160))
    predictor = model.fit(train, val, FakeContext(train.specs))
    together = predictor.predict(test.without_targets())
    for i in range(len(test)):
        assert predictor.predict(test[i : i + 1].without_targets()).risk[0] == together.risk[i]


@each
def test_labels_are_not_read_when_predicting(model: FusionModel) -> None:
    train, val, test = parts(cohort(160))
    predictor = model.fit(train, val, FakeContext(train.specs))
    assert test.targets is not None
    other = replace(test, targets=replace(test.targets, time=test.targets.time + 9, event=~test.targets.event))
    other = replace(other, cases=tuple(replace(case, target=SurvivalTarget(1.0, True)) for case in other.cases))
    assert same(predictor.predict(other), predictor.predict(test.without_targets()))


@each
def test_the_seed_decides_and_nothing_else(model: FusionModel) -> None:
    train, val, _ = parts(cohort(160))

    def state(seed: int) -> dict[str, bytes]:
        np.random.default_rng().random()
        return {k: v.tobytes() for k, v in model.fit(train, val, FakeContext(train.specs, seed)).state().items()}

    assert state(2**62) == state(2**62)
    assert state(1) != state(2)


@each
def test_validation_predictions_are_out_of_sample(model: FusionModel) -> None:
    """On noise with many columns a model ranks what it was fitted on well, and everything else by chance."""
    inside, outside = [], []
    for seed in range(3):
        train, val, _ = parts(cohort(120, columns=150, signal=0.0, seed=seed))
        predictor = model.fit(train, val, FakeContext(train.specs, seed))
        inside.append(concordance(val, predictor.predict(val.without_targets())))
        outside.append(concordance(val, predictor.predict_validation(val.without_targets())))
    assert np.mean(inside) > 0.75
    assert 0.35 < np.mean(outside) < 0.65


@either
def test_validation_predictions_are_for_validation_cases_only(model: FusionModel) -> None:
    train, val, test = parts(cohort(160))
    predictor = model.fit(train, val, FakeContext(train.specs))
    reversed_val = val.take(range(len(val) - 1, -1, -1)).without_targets()
    assert (predictor.predict_validation(reversed_val).risk[::-1] == predictor.predict_validation(val).risk).all()
    with pytest.raises(PluginError, match=f"'{test.ids[0]}' was no validation case"):
        predictor.predict_validation(test.without_targets())


@each
def test_other_columns_than_fitted_are_refused(model: FusionModel) -> None:
    train, val, test = parts(cohort(160))
    predictor = model.fit(train, val, FakeContext(train.specs))
    with pytest.raises(PluginError, match="fitted on 12 columns, asked to predict on 6"):
        predictor.predict(test.restrict(("a",)).without_targets())


@each
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda t: replace(t, event=np.arange(len(t.event)) == 0),
            "1 of 120 patients have an observed event",
        ),
        (lambda t: replace(t, event=np.zeros(len(t.event), dtype=bool)), "0 of 120 patients have"),
    ],
)
def test_what_cannot_be_fitted_is_said(model: FusionModel, spoil: Callable[[Any], Any], message: str) -> None:
    train, val, _ = parts(cohort(160))
    assert val.targets is not None
    spoiled = replace(train, targets=spoil(train.targets))
    val = replace(val, targets=replace(val.targets, event=np.zeros(len(val), dtype=bool)))
    with pytest.raises(DataError, match=message):
        model.fit(spoiled, val, FakeContext(train.specs))


@each
def test_columns_without_information_are_refused(model: FusionModel) -> None:
    cases = cohort(160)
    assert cases.targets is not None
    constant = case_set({"a": [np.ones((1, 3))] * 160}, cases.targets.time, cases.targets.event)
    train, val, _ = parts(constant)
    with pytest.raises(DataError, match=r"none of the 3 columns varies|no tree splits"):
        model.fit(train, val, FakeContext(train.specs))


# Real data


@pytest.mark.data
@pytest.mark.slow
def test_the_three_reach_what_plain_models_reach_on_kirp() -> None:
    """KIRP, clinical and omics, published folds: about .81 for each (Coxnet .806, forest .810 on omics)."""
    home = os.environ.get("FUSIONBENCH_DATA")
    if not home:
        pytest.skip("FUSIONBENCH_DATA is not set")
    x, time, event, folds = _kirp(Path(home) / "porpoise")
    forest = SurvivalForest(SurvivalForestOptions())
    scores = np.array(
        [[_kirp_score(model, x, time, event, *fold) for fold in folds] for model in (COX, forest, BOOSTING)]
    )
    assert (scores.mean(axis=1) > 0.76).all(), scores


def _kirp(home: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    import pandas as pd

    table = pd.read_csv(home / "datasets_csv_mutsig/tcga_kirp_all_clean.csv.zip", index_col=0, low_memory=False)
    table = table.drop_duplicates("case_id").set_index("case_id")
    meta = ["slide_id", "survival_months", "censorship", "site", "oncotree_code", "train"]
    x = table.drop(columns=meta).to_numpy(dtype=np.float64)
    splits = [pd.read_csv(home / f"splits/5foldcv/tcga_kirp/splits_{k}.csv") for k in range(5)]
    place = {case: row for row, case in enumerate(table.index)}
    train, test = ([np.array([place[case] for case in s[part].dropna()]) for s in splits] for part in ("train", "val"))
    time, event = table["survival_months"].to_numpy(), (table["censorship"] == 0).to_numpy()
    return x, time, event, list(zip(train, test, strict=True))


def _kirp_score(
    model: FusionModel, x: np.ndarray, time: np.ndarray, event: np.ndarray, fit: np.ndarray, test: np.ndarray
) -> float:
    middle = np.nanmedian(x[fit], axis=0)
    x = np.where(np.isnan(x), middle, x)
    spread = np.subtract(*np.quantile(x[fit], [0.75, 0.25], axis=0))
    x = np.where(spread > 0, np.clip(x, middle - 5 * spread, middle + 5 * spread), x).astype(np.float32)
    train, val, test_set = (
        case_set({"all": list(x[rows][:, None])}, time[rows], event[rows]) for rows in (fit[::2], fit[1::2], test)
    )
    renamed = tuple(replace(case, id=f"val-{case.id}", group=f"val-{case.id}") for case in val.cases)
    predictor = model.fit(train, replace(val, cases=renamed), FakeContext(train.specs))
    return concordance(test_set, predictor.predict(test_set.without_targets()))
