"""Concordance as matrices, bootstrap, corrected test, multiplicity, pooling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sksurv.metrics import concordance_index_censored

from fusionbench.core.errors import UndefinedMetric
from fusionbench.survival.stats import (
    ScoredFold,
    average_repeats,
    best_position,
    comparable_pairs,
    concordant_pairs,
    corrected_t_test,
    distinct_risks,
    fold_shares,
    harrell_c,
    holm,
    log_rank_p,
    mean_over_folds,
    percentile_interval,
    random_effects,
    rank_test,
    resample,
    risk_groups,
    standard_deviation,
    weighted_c,
)


def cohort(rng, n, censored=0.5):
    """Follow-up with tied times, and risks with ties."""
    time = rng.integers(1, 40, size=n).astype(float)
    return time, rng.random(n) > censored, rng.normal(size=n).round(1)


def scored_folds(time, event, strata):
    members = [np.flatnonzero(strata == fold) for fold in np.unique(strata)]
    return [ScoredFold(m, comparable_pairs(time[m], event[m])) for m in members]


@pytest.mark.parametrize("seed", range(20))
def test_c_at_unit_weights_is_scikit_survivals(seed):
    time, event, risk = cohort(np.random.default_rng(seed), 120)
    expected = concordance_index_censored(event, time, risk)[0]
    pairs = comparable_pairs(time, event)
    weighted = weighted_c(pairs, concordant_pairs(pairs, risk)[None], np.ones((3, 120)))
    assert harrell_c(time, event, risk) == pytest.approx(expected, abs=1e-12)
    assert weighted == pytest.approx(np.full((3, 1), expected), abs=1e-12)


def test_risks_within_the_tolerance_are_tied():
    time, event = np.array([1.0, 2.0]), np.array([True, True])
    assert harrell_c(time, event, np.array([0.0, 1e-9])) == 0.5
    assert harrell_c(time, event, np.array([0.0, 1e-7])) == 0.0


def test_weights_are_copies_of_patients():
    rng = np.random.default_rng(1)
    time, event, risk = cohort(rng, 60)
    copies = rng.multinomial(60, np.full(60, 1 / 60), size=5)
    pairs = comparable_pairs(time, event)
    weighted = weighted_c(pairs, concordant_pairs(pairs, risk)[None], copies.astype(float))[:, 0]
    for value, count in zip(weighted, copies, strict=True):
        drawn = np.repeat(np.arange(60), count)
        assert value == pytest.approx(concordance_index_censored(event[drawn], time[drawn], risk[drawn])[0], abs=1e-12)


def test_averaged_matrices_average_c():
    rng = np.random.default_rng(2)
    time, event, _ = cohort(rng, 50)
    pairs, weights = comparable_pairs(time, event), rng.integers(0, 3, size=(7, 50)).astype(float)
    masks = np.stack([concordant_pairs(pairs, rng.normal(size=50)) for _ in range(4)])
    separately = weighted_c(pairs, masks, weights).mean(axis=1)
    assert weighted_c(pairs, masks.mean(axis=0)[None], weights)[:, 0] == pytest.approx(separately, abs=1e-12)


def test_c_is_nan_where_no_pair_has_weight():
    pairs = comparable_pairs(np.array([1.0, 2.0]), np.array([True, False]))
    assert math.isnan(weighted_c(pairs, concordant_pairs(pairs, np.zeros(2))[None], np.array([[1.0, 0.0]]))[0, 0])
    assert math.isnan(harrell_c(np.array([1.0, 2.0]), np.array([False, True]), np.zeros(2)))


def test_resampling_keeps_each_folds_size_and_follows_its_seed():
    rng = np.random.default_rng(3)
    time, event, _ = cohort(rng, 90)
    strata = np.repeat([0, 1, 2], [20, 30, 40])
    sample = resample(strata, scored_folds(time, event, strata), seed=5, draws=200)
    again = resample(strata, scored_folds(time, event, strata), seed=5, draws=200)
    other = resample(strata, scored_folds(time, event, strata), seed=6, draws=200)
    assert sample.weights.shape == (200, 90)
    assert [set(sample.weights[:, strata == s].sum(axis=1)) for s in range(3)] == [{20.0}, {30.0}, {40.0}]
    assert np.array_equal(sample.weights, again.weights)
    assert not np.array_equal(sample.weights, other.weights)
    assert len(set(sample.weights[:, event].sum(axis=1))) > 1, "the number of events must vary from draw to draw"


def test_draws_without_a_comparable_pair_are_redrawn_and_counted():
    time, event = np.arange(1.0, 11.0), np.arange(10) == 4
    fold = ScoredFold(np.arange(10), comparable_pairs(time, event))
    sample = resample(np.zeros(10, dtype=np.int64), [fold], seed=0, draws=500)
    assert (sample.weights[:, 4] > 0).all()
    assert (sample.weights[:, 5:].sum(axis=1) > 0).all()
    lost = 0.9**10 + 0.5**10 - 0.4**10  # the event is not drawn, or nobody after it
    assert sample.redrawn / (500 + sample.redrawn) == pytest.approx(lost, abs=0.05)


def test_resampling_gives_up_where_pairs_are_too_rare():
    folds = [
        ScoredFold(np.arange(3 * i, 3 * i + 3), comparable_pairs(np.arange(3.0), np.array([False, True, False])))
        for i in range(12)
    ]
    with pytest.raises(UndefinedMetric, match=r"only \d+ of \d+ draws keep a comparable pair"):
        resample(np.repeat(np.arange(12), 3), folds, seed=0, draws=100)


def test_percentile_interval():
    assert percentile_interval(np.arange(0.0, 1001.0)) == pytest.approx((25.0, 975.0))
    assert all(math.isnan(end) for end in percentile_interval(np.array([0.5, math.nan])))


def test_mean_over_folds_then_repeats():
    values, repeats = [0.6, 0.8, 0.5], [0, 0, 1]
    assert mean_over_folds(values, repeats) == pytest.approx(0.6)
    assert fold_shares(repeats) == pytest.approx([0.25, 0.25, 0.5])
    assert math.isnan(mean_over_folds([], []))
    assert average_repeats([0.6, 0.7, 0.8, 0.5], [0, 1, 0, 1]) == pytest.approx([0.7, 0.6])
    assert standard_deviation([1.0, 3.0]) == pytest.approx(math.sqrt(2))
    assert math.isnan(standard_deviation([1.0]))


def test_corrected_t_test_by_hand():
    differences = [0.02, 0.05, 0.01, 0.04, 0.03]
    test = corrected_t_test(differences, 0.25)
    se = math.sqrt((1 / 5 + 1 / 4) * 0.00025)
    assert test.difference == pytest.approx(0.03)
    assert test.se == pytest.approx(se)
    assert test.df == 4
    assert test.p == pytest.approx(2 * stats.t.sf(0.03 / se, 4))
    assert test.detectable == pytest.approx(2.8 * se)
    assert test.p > stats.ttest_1samp(differences, 0).pvalue, "the correction must widen"
    assert corrected_t_test(differences, 0.0).p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)


def test_corrected_t_test_at_its_edges():
    assert corrected_t_test([0.0, 0.0, 0.0], 0.25).p == 1.0
    assert corrected_t_test([0.5, 0.5], 0.25).p == 0.0
    assert math.isnan(corrected_t_test([0.1], 0.25).p)
    assert math.isnan(corrected_t_test([], 0.25).difference)


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = holm([0.02, math.nan, 0.5])
    assert adjusted[[0, 2]] == pytest.approx([0.04, 0.5])
    assert math.isnan(adjusted[1])


def test_best_position():
    means = np.array([math.nan, 0.6, 0.7])
    assert best_position(means, higher_is_better=True) == 2
    assert best_position(means, higher_is_better=False) == 1
    assert best_position(np.array([math.nan]), higher_is_better=True) is None


BCG = np.array(
    [
        (4, 119, 11, 128),
        (6, 300, 29, 274),
        (3, 228, 11, 209),
        (62, 13536, 248, 12619),
        (33, 5036, 47, 5761),
        (180, 1361, 372, 1079),
        (8, 2537, 10, 619),
        (505, 87886, 499, 87892),
        (29, 7470, 45, 7232),
        (17, 1699, 65, 1600),
        (186, 50448, 141, 27197),
        (5, 2493, 3, 2338),
        (27, 16886, 29, 17825),
    ],
    dtype=float,
)
"""Cases and others, vaccinated and not, of the 13 BCG trials (Colditz et al. 1994): meta-analysis' usual example."""


def test_random_effects_on_the_bcg_trials():
    cases, others, control_cases, control_others = BCG.T
    treated, control = cases + others, control_cases + control_others
    log_ratio = np.log((cases / treated) / (control_cases / control))
    pooled = random_effects(log_ratio, 1 / cases - 1 / treated + 1 / control_cases - 1 / control)
    assert pooled.tau2 == pytest.approx(0.3181, abs=5e-5)  # metafor, method "PM"
    assert pooled.q == pytest.approx(152.2330, abs=5e-5)
    assert pooled.mean == pytest.approx(-0.715, abs=0.002)
    assert pooled.i2 == pytest.approx(1 - 12 / 152.2330, abs=1e-5)
    assert (pooled.low, pooled.high) == pytest.approx((-1.109, -0.321), abs=0.002)
    assert pooled.high - pooled.low == pytest.approx(2 * stats.t.ppf(0.975, 12) * pooled.se)


def test_cohorts_that_agree_by_chance_keep_the_error_of_each():
    pooled = random_effects([0.033, 0.0331], [0.05**2, 0.05**2])
    assert pooled.tau2 == 0
    assert pooled.se == pytest.approx(0.05 / 2**0.5)
    assert pooled.low < 0 < pooled.high
    assert pooled.p > 0.5


def test_random_effects_without_heterogeneity_is_the_weighted_mean():
    pooled = random_effects([0.1, 0.1, 0.1], [0.01, 0.02, 0.03])
    assert (pooled.tau2, pooled.i2, pooled.mean) == pytest.approx((0, 0, 0.1))
    with pytest.raises(ValueError, match="two or more cohorts"):
        random_effects([0.1], [0.01])
    with pytest.raises(ValueError, match="positive variances"):
        random_effects([0.1, 0.2], [0.01, 0.0])


def test_rank_test_is_friedman_after_iman_and_davenport():
    values = np.random.default_rng(4).normal(size=(8, 4)) + np.array([0.0, 0.5, 1.0, 2.5])
    test = rank_test(values, higher_is_better=True)
    chi2 = stats.friedmanchisquare(*values.T).statistic
    assert test.f == pytest.approx(7 * chi2 / (8 * 3 - chi2))
    assert test.p == pytest.approx(stats.f.sf(test.f, 3, 21))
    assert test.best == 3
    assert math.isnan(test.p_holm[3])
    raw = stats.wilcoxon(values[:, 3] - values[:, 0]).pvalue
    assert raw <= test.p_holm[0] <= 3 * raw
    flipped = rank_test(-values, higher_is_better=False)
    assert flipped.ranks == pytest.approx(test.ranks)
    assert rank_test(np.tile([1.0, 2.0, 3.0], (6, 1)), higher_is_better=True).p == 0.0
    with pytest.raises(ValueError, match="two or more cohorts and models"):
        rank_test([[1.0, 2.0]], higher_is_better=True)


def test_log_rank_of_groups_split_within_folds():
    rng = np.random.default_rng(5)
    fold = np.repeat([0, 1], 40)
    risk = rng.normal(size=80) + 100 * fold  # two models on different scales
    time, event = rng.exponential(np.exp(-(risk - 100 * fold))), rng.random(80) < 0.7
    high = risk_groups(risk, fold)
    assert high[fold == 0].sum() == high[fold == 1].sum() == 20
    sample = [stats.CensoredData(uncensored=time[g & event], right=time[g & ~event]) for g in (high, ~high)]
    assert log_rank_p(time, event, high) == pytest.approx(stats.logrank(*sample).pvalue, rel=1e-6)
    with pytest.raises(UndefinedMetric, match="one risk group"):
        log_rank_p(time, event, np.zeros(80, dtype=bool))
    with pytest.raises(UndefinedMetric, match="no event"):
        log_rank_p(time, np.zeros(80, dtype=bool), high)


@pytest.mark.slow
def test_corrected_t_test_of_one_model_against_itself():
    """A/A: the same learner under two families of seeds; the plain t-test has no such promise."""
    rng = np.random.default_rng(7)
    suites, corrected, plain = 300, 0, 0
    for _ in range(suites):
        features = rng.normal(size=(150, 20))
        died, left = rng.exponential(np.exp(-features[:, 0])), rng.exponential(1.0, size=150)
        time, event = np.minimum(died, left), died <= left
        differences = []
        for repeat in range(3):
            for test in np.array_split(np.random.default_rng(repeat).permutation(150), 5):
                train = np.setdiff1d(np.arange(150), test)
                c = [
                    harrell_c(time[test], event[test], learn(features, time, event, train, rng)[test]) for _ in range(2)
                ]
                differences.append(c[0] - c[1])
        corrected += corrected_t_test(differences, 30 / 120).p <= 0.05
        plain += corrected_t_test(differences, 0.0).p <= 0.05
    assert corrected / suites <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / suites)
    assert corrected < plain


def learn(features, time, event, train, rng):
    """A linear risk from a bootstrap of the training cases: event minus rank-based expectation, on each feature."""
    drawn = rng.choice(train, size=len(train))
    order = time[drawn].argsort().argsort() / len(drawn)
    return features @ (features[drawn].T @ (event[drawn] - order))


@pytest.mark.parametrize(
    ("risk", "expected"),
    [([], 0), ([3.0], 1), ([0.0, 5e-9, 1.0], 2), ([1e-10, 2e-10, 3e-10, 4e-10], 1), ([2.0, 1.0, 1.0, 0.0], 3)],
)
def test_risks_that_concordance_ties_are_one(risk: list[float], expected: int) -> None:
    assert distinct_risks(np.array(risk)) == expected
