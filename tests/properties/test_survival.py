import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fusionbench.survival import (
    assign_bins,
    breslow_baseline,
    class_weights,
    cox_partial_likelihood,
    cross_entropy_survival,
    discrete_hazard_nll,
    hazards_to_survival,
    interpolate_survival,
    risk_from_survival,
    time_bins,
)

UNIT = st.floats(0, 1)


@st.composite
def cohorts(draw, logit=8.0):
    """Logits (case, bin), time bins and events."""
    n, bins = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    logits = draw(hnp.arrays(np.float64, (n, bins), elements=st.floats(-logit, logit)))
    time_bin = draw(hnp.arrays(np.int64, n, elements=st.integers(0, bins - 1)))
    event = draw(hnp.arrays(bool, n))
    return torch.from_numpy(logits), torch.from_numpy(time_bin), torch.from_numpy(event)


def plain(logits, time_bin, event):
    """hazard in the bin, S before it and S after it of each case, one by one."""
    rows = []
    for row, k in zip(logits.tolist(), time_bin.tolist(), strict=True):
        hazards = [1 / (1 + math.exp(-x)) for x in row]
        rows.append((hazards[k], math.prod(1 - h for h in hazards[:k]), math.prod(1 - h for h in hazards[: k + 1])))
    return rows, event.tolist()


@settings(deadline=None)
@given(cohorts(), UNIT, st.sampled_from(["all", "likelihood"]))
def test_nll_is_the_plain_formula(cohort, alpha, weight_on):
    weights = torch.arange(1, cohort[0].shape[1] + 1, dtype=torch.float64)
    got = discrete_hazard_nll(*cohort, alpha=alpha, weights=weights, weight_on=weight_on)
    rows, events = plain(*cohort)
    for value, (hazard, before, after), event, k in zip(got, rows, events, cohort[1], strict=True):
        u, v = (-math.log(before * hazard), 0.0) if event else (0.0, -math.log(after))
        w = weights[k].item()
        expected = (1 - alpha) * w * (u + v) + alpha * u * (w if weight_on == "all" else 1)
        assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(cohorts(), UNIT)
def test_ce_is_the_plain_formula(cohort, alpha):
    rows, events = plain(*cohort)
    for value, (hazard, before, after), event in zip(
        cross_entropy_survival(*cohort, alpha=alpha), rows, events, strict=True
    ):
        entropy = -math.log(1 - after) if event else -math.log(after)
        expected = (1 - alpha) * entropy + alpha * (-math.log(before * hazard) if event else 0.0)
        assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(cohorts(logit=1e3))
def test_probabilities_of_all_outcomes_sum_to_one(cohort):
    logits = cohort[0][:1]
    bins = logits.shape[1]
    died = discrete_hazard_nll(logits.expand(bins, -1), torch.arange(bins), torch.ones(bins, dtype=torch.bool))
    alive = discrete_hazard_nll(logits, torch.tensor([bins - 1]), torch.zeros(1, dtype=torch.bool))
    assert torch.cat([-died, -alive]).logsumexp(0).item() == pytest.approx(0, abs=1e-9)


@settings(deadline=None)
@given(cohorts(logit=30.0), UNIT)
def test_clamping_only_lowers_the_loss(cohort, alpha):
    exact, clamped = (discrete_hazard_nll(*cohort, alpha=alpha, clamp=c) for c in (None, 1e-7))
    assert (clamped <= exact + 1e-9).all()
    assert (clamped <= -2 * math.log(1e-7)).all()


@settings(deadline=None)
@given(cohorts(logit=50.0))
def test_survival_falls_and_risk_rises_with_any_hazard(cohort):
    logits = cohort[0]
    survival = hazards_to_survival(logits)
    assert (survival.diff(dim=1) <= 0).all()
    assert ((survival >= 0) & (survival <= 1)).all()
    assert (risk_from_survival(hazards_to_survival(logits + 1)) >= risk_from_survival(survival)).all()


@st.composite
def followed(draw, least=2):
    n = draw(st.integers(least, 10))
    time = draw(hnp.arrays(np.float64, n, elements=st.integers(0, 6)))
    event = draw(hnp.arrays(bool, n).filter(np.any))
    risk = draw(hnp.arrays(np.float64, n, elements=st.floats(-5, 5)))
    return risk, time, event


@settings(deadline=None)
@given(followed(), st.floats(-20, 20))
def test_cox_is_the_plain_formula_and_ignores_a_shift(cohort, shift):
    risk, time, event = cohort
    terms = [math.log(sum(np.exp(risk[time >= time[i]]))) - risk[i] for i in np.flatnonzero(event)]
    tensors = [torch.from_numpy(x) for x in (risk + shift, time, event)]
    assert cox_partial_likelihood(*tensors).item() == pytest.approx(sum(terms) / len(terms), abs=1e-9)
    assert cox_partial_likelihood(*tensors, reduction="cases").item() == pytest.approx(sum(terms) / len(time), abs=1e-9)


@settings(deadline=None)
@given(followed())
def test_breslow_expects_as_many_events_as_there_are(cohort):
    risk, time, event = cohort
    times, hazard = breslow_baseline(risk, time, event)
    reached = np.searchsorted(times, time, side="right")
    at = np.where(reached > 0, hazard[reached - 1], 0.0)
    assert (at * np.exp(risk)).sum() == pytest.approx(event.sum())


@settings(deadline=None)
@given(followed(least=1), st.integers(2, 6))
def test_bins_are_ascending_and_events_fill_the_outer_ones(cohort, n_bins):
    _, time, event = cohort
    edges = time_bins(time, event, n_bins)
    assert list(edges) == sorted(set(edges))
    assert len(edges) < n_bins
    bins = assign_bins(time, edges)
    assert (bins == [sum(edge <= t for edge in edges) for t in time]).all()
    assert {0, len(edges)} <= set(bins[event])


@settings(deadline=None)
@given(hnp.arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 4)))
def test_weighted_count_is_the_count(time_bin):
    for kind in ("none", "inverse", "inverse_root"):
        weights = class_weights(time_bin, 6, kind)
        assert weights[time_bin].sum() == pytest.approx(len(time_bin))
    filled = np.unique(time_bin)
    inverse = class_weights(time_bin, 6, "inverse")[filled] * np.bincount(time_bin)[filled]
    np.testing.assert_allclose(inverse, inverse[0])


@settings(deadline=None)
@given(
    hnp.arrays(np.float64, (3, 4), elements=UNIT),
    st.lists(st.floats(0.01, 100), min_size=4, max_size=4, unique=True),
    st.lists(st.floats(0, 150), min_size=1, max_size=8),
)
def test_interpolation_is_numpys_and_never_rises(steps, times, grid):
    survival, knots, at = np.cumprod(steps, axis=1), np.sort(times), np.sort(grid)
    got = interpolate_survival(survival, knots, at)
    expected = [np.interp(at, [0.0, *knots], [1.0, *row]) for row in survival]
    np.testing.assert_allclose(got, expected, atol=1e-9)
    assert (np.diff(got, axis=1) <= 0).all()
