"""Thresholds on products, sums and differences of floats, against exact fractions: no rounding error moves one."""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from fusionbench import Case, SurvivalPrediction, SurvivalTarget, SurvivalTargets
from fusionbench.builtin.calibration import merge_intervals
from fusionbench.builtin.metrics import IntegratedBrier
from fusionbench.builtin.synthetic import survival_times
from fusionbench.core.protocol import Protocol
from fusionbench.core.rounding import part_of
from fusionbench.data.inspection.checks import check_censorship
from fusionbench.data.inspection.summary import median_follow_up
from fusionbench.data.splits import make_folds
from fusionbench.execution.evaluate import time_grid
from fusionbench.survival import assign_bins, time_bins
from fusionbench.survival.stats import best_position, corrected_t_test, rank_test, risk_groups


@pytest.mark.parametrize("hundredths", range(1, 100))
def test_parts_of_a_cohort_are_exact(hundredths: int) -> None:
    exact = [round(Fraction(hundredths, 100) * n) for n in range(1, 2001)]
    assert [round(part_of(n, hundredths / 100)) for n in range(1, 2001)] == exact


def cohort(n: int) -> list[Case]:
    return [Case(f"c{i:04d}", f"c{i:04d}", SurvivalTarget(1.0 + i, i % 2 == 0), {}) for i in range(n)]


def test_a_random_split_has_the_validation_cases_that_its_share_says() -> None:
    """0.35 of 90 is 31.5, of which the even neighbour is 32; the product of the floats is just below."""
    fold = make_folds(cohort(90), Protocol(fold_source="random", validation=0.35), 0, 0)[0]
    assert len(fold.val) == round(Fraction(35, 100) * 90) == 32


def test_validation_stops_at_the_target_of_the_share() -> None:
    """90 cases stay beside a test fold, 45 with an event: 0.7 of them are 31.5, not 31.499999999999996."""
    cases = cohort(180)
    fold = make_folds(cases, Protocol(folds=2, validation=0.7), 0, 0)[0]
    with_event = {case.id for case in cases if case.target is not None and case.target.event}
    for of in (with_event, {case.id for case in cases} - with_event):
        rest, size = len(of & {*fold.train, *fold.val}), 0
        while not size or size + Fraction(1, 2) <= Fraction(7, 10) * rest:
            size += 1
        assert len(of & set(fold.val)) == size


def test_synthetic_cohorts_censor_the_share_that_is_asked_for() -> None:
    event = survival_times(np.zeros(90), 0.35, np.random.default_rng(0))[1]
    assert 90 - event.sum() == round(Fraction(35, 100) * 90)


@pytest.mark.parametrize("bins", [3, 4, 5, 10, 11, 12, 14, 17, 18, 20])
def test_an_event_at_an_edge_is_in_the_bin_that_begins_there(bins: int) -> None:
    for n in range(bins + 1, 300, bins):  # some edges are times of events
        times = np.arange(1, n + 1) * 0.7 + 0.1
        exact = [Fraction(time) for time in times.tolist()]
        edges = []
        for k in range(1, bins):
            lower, rest = divmod(k * (n - 1), bins)
            step = exact[min(lower + 1, n - 1)] - exact[lower]
            edges.append(exact[lower] + step * Fraction(rest, bins))
        inner = sorted({edge for edge in edges if edge > exact[0]})
        found = assign_bins(times, time_bins(times, np.ones(n, dtype=bool), bins))
        assert found.tolist() == [bisect_right(inner, time) for time in exact], (bins, n)


def test_a_death_at_a_grid_point_is_a_death_by_then() -> None:
    """With a horizon of 3 months the sixth grid point is 0.9, written as 0.8999999999999999."""
    grid = time_grid(3.0)
    time = np.array([float(Fraction(3 * k, 20)) for k in range(1, 21)] + [4.0] * 20)
    event = np.arange(40) < 20
    survival = np.full((40, 20), 0.25)
    targets = SurvivalTargets(time, event, np.zeros(40, dtype=np.int64))
    late = SurvivalTargets(np.full(40, 5.0), np.arange(40) < 1, np.zeros(40, dtype=np.int64))
    died = [sum(1 for k in range(1, 21) if Fraction(3 * k, 20) <= Fraction(3 * j, 20)) for j in range(1, 21)]
    errors = [(Fraction(1, 16) * n + Fraction(9, 16) * (40 - n)) / 40 for n in died]
    area = sum((a + b) / 2 for a, b in pairwise(errors)) / 19
    prediction = SurvivalPrediction(tuple(map(str, range(40))), np.zeros(40), survival, grid)
    assert IntegratedBrier()(prediction, targets, late) == pytest.approx(float(area), abs=1e-12)


def test_an_interval_that_expects_exactly_enough_is_not_merged() -> None:
    """S of 0.9, 0.8, ... in 50 cases: each tenth expects 5 events, in floats 4.999999999999998."""
    fall = -np.diff([float(Fraction(k, 10)) for k in range(10, -1, -1)])
    assert merge_intervals(np.sum([fall] * 50, axis=0), 5.0).tolist() == list(range(10))


def test_differences_of_rounding_are_no_differences() -> None:
    """0.7 - 0.6 and 0.8 - 0.7 are a tenth both, and 0.1 + 0.2 is 0.3."""
    tenth = corrected_t_test([0.8 - 0.7, 0.7 - 0.6, 0.3 - 0.2], 0.25)
    assert (tenth.se, tenth.p) == (0.0, 0.0)
    nothing = corrected_t_test([0.1 + 0.2 - 0.3] * 4, 0.25)
    assert (nothing.se, nothing.p) == (0.0, 1.0)


def test_the_first_of_equal_means_is_the_best() -> None:
    assert best_position(np.array([0.3, 0.1 + 0.2, 0.2]), True) == 0
    assert best_position(np.array([0.1 + 0.2, 0.3, 0.4]), False) == 0


def test_equal_scores_have_equal_ranks() -> None:
    scores = [[0.6, 0.3, 0.1 + 0.2], [0.7, 0.1 + 0.2, 0.3], [0.6, 0.3, 0.3], [0.5, 0.3, 0.1 + 0.2]] * 2
    exact = rank_test([[round(score, 3) for score in row] for row in scores], True)
    found = rank_test(scores, True)
    assert found.ranks.tolist() == exact.ranks.tolist() == [1.0, 2.5, 2.5]
    assert found.p_holm[1] == found.p_holm[2]


def test_risks_that_tie_with_the_median_are_low() -> None:
    high = risk_groups(np.array([0.1, 0.3, 0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2, 0.9]), np.zeros(7))
    assert high.tolist() == [False] * 6 + [True]


def test_as_many_late_events_as_a_share_says_are_many() -> None:
    """140 events among 250 cases, and 14 of the 25 that are followed longest: exactly as many as everywhere."""
    event = np.concatenate([np.zeros(99, dtype=bool), np.ones(126, dtype=bool), np.arange(25) < 14])
    assert Fraction(int(event.sum()), 250) * 25 == event[-25:].sum()
    assert [w.kind for w in check_censorship(1.0 + np.arange(250) / 10, event)] == ["censorship-reversed"]


def test_a_product_that_is_exactly_one_half_is_reached() -> None:
    """(1 - 4/12) (1 - 1/8) (1 - 1/7) is 1/2: half of twelve patients are followed for 3 months, not for 4."""
    time = np.array([1.0] * 4 + [2.0, 3.0] + [4.0] * 6)
    assert Fraction(8, 12) * Fraction(7, 8) * Fraction(6, 7) == Fraction(1, 2)
    assert median_follow_up(time, np.zeros(12, dtype=bool)) == 3
