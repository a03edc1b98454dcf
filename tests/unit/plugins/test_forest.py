"""Random survival forest on concatenated vectors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fusionbench_controls.features import Outcomes, design_matrix
from fusionbench_controls.forest import SurvivalForest, SurvivalForestOptions, last_event_before
from fusionbench_controls.trees import TreeArrays
from sksurv.ensemble import RandomSurvivalForest
from sksurv.util import Surv

from fusionbench import DataError
from tests.unit.control_cases import FakeContext, cohort, outcomes, parts

FOREST = SurvivalForest(SurvivalForestOptions(trees=40))


def grown(rows: Outcomes, **options: Any) -> RandomSurvivalForest:
    forest = RandomSurvivalForest(n_estimators=30, min_samples_leaf=5, random_state=1, n_jobs=1, **options)
    return forest.fit(rows.x.astype(np.float32), Surv.from_arrays(rows.event, rows.time))


def test_tree_arrays_predict_what_the_forest_predicts() -> None:
    rows, new = outcomes(150, 8), np.random.default_rng(1).standard_normal((40, 8)).astype(np.float32)
    forest = grown(rows)
    trees = TreeArrays.of(forest)
    hazard = trees.cumulative_hazard(new, np.ones((40, 30), dtype=bool))
    theirs = forest.predict_cumulative_hazard_function(new, return_array=True)[:, forest.is_event_time_]
    np.testing.assert_allclose(hazard, theirs, rtol=1e-6)
    np.testing.assert_allclose(hazard.sum(axis=1), forest.predict(new), rtol=1e-6)


def test_moving_censored_times_back_changes_no_tree() -> None:
    rows = outcomes(150, 8, ties=False)
    moved = last_event_before(rows.time, rows.event)
    np.testing.assert_array_equal(moved[rows.event], rows.time[rows.event])
    assert (moved <= rows.time).all()
    one, other = TreeArrays.of(grown(rows)), TreeArrays.of(grown(replace(rows, time=moved)))
    for name in ("left", "right", "feature", "threshold", "hazard", "times"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert last_event_before(np.array([1.0, 2, 3, 4]), np.array([False, True, False, True])).tolist() == [0, 2, 2, 4]


def test_out_of_bag_by_hand() -> None:
    cases = cohort(160)
    two_slides = tuple(replace(case, group=f"patient-{i // 2}") for i, case in enumerate(cases.cases))
    train, val, _ = parts(replace(cases, cases=two_slides))
    both = replace(train, cases=train.cases + val.cases)
    predictor = FOREST.fit(train, val, FakeContext(train.specs, seed=9))
    assert train.targets is not None
    assert val.targets is not None
    time, event = (np.concatenate([getattr(p.targets, name) for p in (train, val)]) for name in ("time", "event"))
    x = design_matrix(both).astype(np.float32)
    seed = int(np.random.SeedSequence(9).generate_state(1)[0])
    forest = RandomSurvivalForest(n_estimators=40, min_samples_leaf=15, random_state=seed, n_jobs=1)
    forest.fit(x, Surv.from_arrays(event, time))
    for i in range(5):
        row = len(train) + i
        patient = {j for j, case in enumerate(both.cases) if case.group == both.cases[row].group}
        free = [
            t
            for t, sample in zip(forest.estimators_, forest.estimators_samples_, strict=True)
            if not patient & {*sample}
        ]
        assert 0 < len(free) < 40
        by_hand = np.mean([tree.predict(x[row : row + 1])[0] for tree in free])
        assert predictor.predict_validation(val).risk[i] == pytest.approx(by_hand, rel=1e-6)


def test_leaves_hold_at_least_the_cases_asked_for() -> None:
    train, val, _ = parts(cohort(200))
    few, many = (
        SurvivalForest(SurvivalForestOptions(trees=25, min_leaf=size)).fit(train, val, FakeContext(train.specs)).state()
        for size in (30, 5)
    )
    assert len(few["hazard"]) < len(many["hazard"])
    assert np.bincount(np.searchsorted(few["root"], np.flatnonzero(few["left"] < 0), side="right")).max() <= 150 // 30


def test_too_few_cases_for_a_split_is_said() -> None:
    train, val, _ = parts(cohort(32))
    with pytest.raises(DataError, match=r"no tree splits 24 cases into leaves of 15; .*min_leaf"):
        FOREST.fit(train, val, FakeContext(train.specs))


def test_a_patient_in_every_trees_sample_is_judged_by_trees_that_never_saw_them() -> None:
    """A third of the rows are one patient's slides, some of them in validation."""
    cases = cohort(150)
    crowded = tuple(replace(c, group="crowd" if i % 3 == 0 else c.group) for i, c in enumerate(cases.cases))
    train, val, _ = parts(replace(cases, cases=crowded))
    assert any(c.group == "crowd" for c in train.cases)
    assert any(c.group == "crowd" for c in val.cases)
    context = FakeContext(train.specs, seed=9)
    predictor = FOREST.fit(train, val, context)
    said = predictor.predict_validation(val.without_targets())
    again = FOREST.restore(predictor.state(), context)  # type: ignore[arg-type]
    np.testing.assert_array_equal(again.predict_validation(val.without_targets()).risk, said.risk)
    # what is said of validation does not rest on the crowd, whatever its rows say
    mine = [i for i, c in enumerate(train.cases) if c.group == "crowd"]
    assert train.targets is not None
    time = train.targets.time.copy()
    time[mine] = time[mine][::-1]
    other = FOREST.fit(replace(train, targets=replace(train.targets, time=time)), val, context)
    np.testing.assert_array_equal(other.predict_validation(val.without_targets()).risk, said.risk)
    assert not np.array_equal(other.predict(val.without_targets()).risk, predictor.predict(val.without_targets()).risk)
