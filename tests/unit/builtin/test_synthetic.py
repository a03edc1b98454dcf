from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import ks_2samp
from sklearn.metrics import roc_auc_score
from sksurv.metrics import concordance_index_censored

from fusionbench import DataError
from fusionbench.builtin.bag import Bag
from fusionbench.builtin.synthetic import Synthetic, SyntheticCohort, SyntheticOptions, draw
from fusionbench.builtin.vector import Vector
from fusionbench.data.cohort import load_cohort


def targets(drawn: SyntheticCohort) -> tuple[np.ndarray, np.ndarray]:
    return np.array([c.target.event for c in drawn.cases]), np.array([c.target.time for c in drawn.cases])


def c_index(drawn: SyntheticCohort, risk: np.ndarray) -> float:
    return float(concordance_index_censored(*targets(drawn), risk)[0])


def shown(drawn: SyntheticCohort, options: SyntheticOptions) -> dict[str, np.ndarray]:
    """What each modality shows of its two scores, read off the data alone."""
    v, b = options.vector_dim // 3, options.bag_dim // 3
    vectors = np.stack([case.refs["vector"] for case in drawn.cases])
    planted = np.stack([case.refs["bag"][drawn.planted[case.id]].mean(axis=0) for case in drawn.cases])
    return {
        "vector_main": vectors[:, :v].mean(axis=1),
        "vector_cross": vectors[:, v : 2 * v].mean(axis=1),
        "bag_main": planted[:, b : 2 * b].mean(axis=1),
        "bag_cross": planted[:, 2 * b :].mean(axis=1),
    }


@pytest.mark.parametrize("seed", range(4))
def test_the_true_risk_reaches_a_c_index_around_0_8(seed: int) -> None:
    drawn = draw(SyntheticOptions(seed=seed))
    assert 0.75 <= c_index(drawn, np.array(list(drawn.true_risk.values()))) <= 0.85


def test_each_part_of_the_signal_can_be_read_off_the_data() -> None:
    options = SyntheticOptions(cases=1000)
    drawn = draw(options)
    score = shown(drawn, options)
    assert c_index(drawn, score["vector_main"]) > 0.56
    assert c_index(drawn, score["bag_main"]) > 0.56
    assert c_index(drawn, score["vector_cross"] * score["bag_cross"]) > 0.6
    estimate = 0.7 * score["vector_main"] + 0.7 * score["bag_main"] + score["vector_cross"] * score["bag_cross"]
    assert c_index(drawn, estimate) > 0.75


def test_the_interaction_alone_tells_one_modality_nothing() -> None:
    options = SyntheticOptions(
        cases=3000, strength_vector=0, strength_bag=0, strength_interaction=2, bag_min=10, bag_max=20, bag_dim=6
    )
    drawn = draw(options)
    event, time = targets(drawn)
    score = shown(drawn, options)
    for alone in score.values():
        for view in (alone, np.abs(alone)):
            assert c_index(drawn, view) == pytest.approx(0.5, abs=0.03)  # 3 standard errors
    for sign in ("vector_cross", "bag_cross"):
        up = score[sign] > 0
        assert ks_2samp(time[up & event], time[~up & event]).pvalue > 0.001
        assert event[up].mean() == pytest.approx(event[~up].mean(), abs=0.05)
    assert c_index(drawn, score["vector_cross"] * score["bag_cross"]) > 0.75


def test_of_classes_too_the_interaction_alone_tells_one_modality_nothing() -> None:
    options = SyntheticOptions(
        task="binary", cases=3000, strength_vector=0, strength_bag=0, strength_interaction=2, bag_min=10, bag_max=20
    )
    drawn = draw(options)
    high = [case.target.label == "high" for case in drawn.cases]
    score = shown(drawn, options)
    for alone in score.values():
        for view in (alone, np.abs(alone)):
            assert roc_auc_score(high, view) == pytest.approx(0.5, abs=0.03)  # 3 standard errors
    assert roc_auc_score(high, score["vector_cross"] * score["bag_cross"]) > 0.95


def test_planted_instances_are_few_marked_and_public() -> None:
    dataset = Synthetic(SyntheticOptions(cases=50), Path("nowhere"))
    planted = dataset.planted_instances()
    for case in dataset.cases():
        bag, mask = case.refs["bag"], planted[case.id]
        assert mask.shape == (len(bag),)
        assert 20 <= len(bag) <= 60
        assert 1 <= mask.sum() <= 0.1 * len(bag)
        marker = bag[:, :5].mean(axis=1)
        assert marker[mask].min() > 1 > marker[~mask].max()


@pytest.mark.parametrize("share", [0.0, 0.25, 0.85])
def test_the_censored_share_is_met(share: float) -> None:
    event, time = targets(draw(SyntheticOptions(censoring=share)))
    assert 1 - event.mean() == pytest.approx(share, abs=1e-9)
    assert time.min() > 0


def test_missingness_leaves_every_case_something() -> None:
    dataset = Synthetic(SyntheticOptions(cases=2000, missing=0.4, bag_min=10, bag_max=10, bag_dim=3), Path("nowhere"))
    cases = dataset.cases()
    assert all(case.refs for case in cases)
    for name in ("vector", "bag"):  # lost at 0.4, but for half of the 0.16 that would lose both
        assert np.mean([name not in case.refs for case in cases]) == pytest.approx(0.32, abs=0.04)
    assert set(dataset.planted_instances()) == {case.id for case in cases if "bag" in case.refs}
    whole = draw(SyntheticOptions(cases=2000, bag_min=10, bag_max=10, bag_dim=3))
    assert [case.target for case in whole.cases] == [case.target for case in cases]


@pytest.mark.parametrize(
    "options", [{"planted": 0.2}, {"bag_min": 9}, {"bag_min": 40, "bag_max": 30}, {"censoring": 1.0}, {"surplus": 1}]
)
def test_impossible_options_are_refused(options: dict) -> None:
    with pytest.raises(ValidationError):
        SyntheticOptions(**options)


def test_it_is_a_cohort_with_known_risk_and_no_slides() -> None:
    dataset = Synthetic(SyntheticOptions(cases=20, seed=3), Path("nowhere"))
    cohort = load_cohort(dataset, {"vector": Vector, "bag": Bag})
    assert cohort.label == "synthetic[cases=20,seed=3]"
    assert set(cohort.info.true_risk or {}) == {case.id for case in cohort.cases}
    assert cohort.specs_raw["vector"].features[0] == "main_0"
    with pytest.raises(DataError, match="no slides"):
        dataset.cases("slide")


def test_another_process_with_other_threads_draws_the_same() -> None:
    program = (
        "import hashlib; from fusionbench.builtin.synthetic import draw, SyntheticOptions\n"
        "d = draw(SyntheticOptions(cases=30, missing=0.2)); h = hashlib.sha256()\n"
        "for c in d.cases: h.update(repr((c.id, c.target, sorted(c.refs))).encode()); "
        "[h.update(c.refs[k].tobytes()) for k in sorted(c.refs)]\n"
        "print(h.hexdigest())"
    )
    env = {"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "random"}
    runs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env=env | {"OMP_NUM_THREADS": n},
            capture_output=True,
            text=True,
            check=True,
        )
        for n in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
