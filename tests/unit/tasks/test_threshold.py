"""From which probability a case counts as positive."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from fusionbench.tasks.threshold import best_threshold

CASES = st.lists(st.tuples(st.booleans(), st.integers(0, 10)), min_size=2, max_size=30)


@given(CASES)
def test_no_probability_is_a_better_threshold(cases: list[tuple[bool, int]]) -> None:
    positive, probability = np.array([own for own, _ in cases]), np.array([p / 10 for _, p in cases])
    threshold = best_threshold(positive, probability)
    if positive.all() or not positive.any():
        assert np.isnan(threshold)
        return
    score = {at: balanced_accuracy_score(positive, probability >= at) for at in set(probability.tolist())}
    best = max(score.values())
    assert balanced_accuracy_score(positive, probability >= threshold) == pytest.approx(best, abs=1e-12)
    highest = max(at for at, of in score.items() if of == pytest.approx(best, abs=1e-12))
    lower = [at for at in score if at < highest]
    assert threshold == pytest.approx((highest + max(lower)) / 2 if lower else highest)


def test_the_rare_class_is_not_overlooked() -> None:
    """At one half nobody would be positive."""
    positive = np.array([False] * 8 + [True] * 2)
    probability = np.array([0.05, 0.1, 0.1, 0.12, 0.15, 0.2, 0.2, 0.3, 0.28, 0.35])
    assert best_threshold(positive, probability) == pytest.approx(0.24), "midway between 0.2 and 0.28"
