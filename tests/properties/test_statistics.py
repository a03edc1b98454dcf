"""What must hold for any cohort: concordance, bootstrap weights, multiplicity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sksurv.metrics import concordance_index_censored

from fusionbench.survival.stats import (
    TIED_RISK,
    ScoredFold,
    comparable_pairs,
    concordant_pairs,
    corrected_t_test,
    fold_shares,
    harrell_c,
    holm,
    resample,
    twice_concordant,
    weighted_c,
)


@st.composite
def cohorts(draw):
    """Few distinct times and risks, so that ties are common; at least one comparable pair."""
    n = draw(st.integers(2, 25))
    time = draw(st.lists(st.integers(1, 8), min_size=n, max_size=n))
    event = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    risk = draw(st.lists(st.integers(-5, 5), min_size=n, max_size=n))
    time, event, risk = np.asarray(time, float), np.asarray(event), np.asarray(risk, float)
    assume(comparable_pairs(time, event).any)
    return time, event, risk


@given(cohorts())
def test_c_is_scikit_survivals(cohort):
    time, event, risk = cohort
    assert harrell_c(time, event, risk) == pytest.approx(concordance_index_censored(event, time, risk)[0], abs=1e-12)


@given(cohorts())
def test_c_sees_only_the_order_of_risks(cohort):
    time, event, risk = cohort
    c = harrell_c(time, event, risk)
    assert harrell_c(time, event, np.exp(risk)) == pytest.approx(c)
    assert harrell_c(time, event, 3 * risk - 7) == pytest.approx(c)
    assert harrell_c(time, event, -risk) == pytest.approx(1 - c)
    assert harrell_c(2 * time, event, risk) == pytest.approx(c)


@given(cohorts(), st.sampled_from([1.0, 1.1e-8, 0.6e-8, 1e-9]))
def test_concordant_pairs_are_those_of_the_plain_formula(cohort, unit):
    """Also where each risk ties with the next one but not with the one after it, so that no ranks have these ties."""
    time, event, risk = cohort
    pairs, risk = comparable_pairs(time, event), risk * unit
    gap = risk[pairs.events, None] - risk[None, :]
    plain = ((gap > TIED_RISK) + 0.5 * (np.abs(gap) <= TIED_RISK)) * pairs.matrix
    np.testing.assert_array_equal(concordant_pairs(pairs, risk), plain)
    np.testing.assert_array_equal(twice_concordant(pairs, risk) * pairs.matrix, 2 * plain)


@given(cohorts(), st.randoms(use_true_random=False))
def test_c_does_not_depend_on_the_order_of_cases(cohort, random):
    time, event, risk = cohort
    order = list(range(len(time)))
    random.shuffle(order)
    assert harrell_c(time[order], event[order], risk[order]) == pytest.approx(harrell_c(time, event, risk))


@given(cohorts(), st.data())
def test_weighted_c_depends_on_relative_weights_and_stays_in_range(cohort, data):
    time, event, risk = cohort
    weights = np.asarray([data.draw(st.lists(st.integers(0, 4), min_size=len(time), max_size=len(time)))], float)
    pairs = comparable_pairs(time, event)
    concordant = concordant_pairs(pairs, risk)[None]
    c = weighted_c(pairs, concordant, weights)
    assert weighted_c(pairs, concordant, 7 * weights) == pytest.approx(c, nan_ok=True)
    assert np.isnan(c).all() or ((c >= 0) & (c <= 1)).all()


@given(cohorts(), st.integers(0, 2**32))
def test_every_draw_has_as_many_patients_and_a_comparable_pair(cohort, seed):
    time, event, _ = cohort
    pairs = comparable_pairs(time, event)
    sample = resample(
        np.zeros(len(time), dtype=np.int64), [ScoredFold(np.arange(len(time)), pairs)], seed=seed, draws=20
    )
    assert (sample.weights.sum(axis=1) == len(time)).all()
    assert np.isfinite(weighted_c(pairs, concordant_pairs(pairs, np.zeros(len(time)))[None], sample.weights)).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_raises_p_and_keeps_its_order(p):
    raw, adjusted = np.asarray(p), holm(p)
    assert (adjusted >= raw).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0).all()
    assert (adjusted <= np.minimum(1, raw * len(raw))).all(), "never worse than Bonferroni"


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_fold_shares_sum_to_one_and_each_repeat_weighs_the_same(repeats):
    shares = fold_shares(repeats)
    of_repeat = [shares[np.asarray(repeats) == r].sum() for r in set(repeats)]
    assert of_repeat == pytest.approx([1 / len(of_repeat)] * len(of_repeat))


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=15), st.floats(0.05, 1), st.floats(0.01, 100))
def test_corrected_test_is_symmetric_and_free_of_scale(differences, ratio, scale):
    assume(np.ptp(differences) > 1e-3)
    test = corrected_t_test(differences, ratio)
    assert 0 <= test.p <= 1
    assert corrected_t_test(-np.asarray(differences), ratio).p == pytest.approx(test.p)
    assert corrected_t_test(scale * np.asarray(differences), ratio).p == pytest.approx(test.p)
    assert corrected_t_test(differences, 2 * ratio).se > test.se
