from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fusionbench.builtin.synthetic import SyntheticOptions, draw, n_planted

options = st.fixed_dictionaries(
    {
        "cases": st.integers(10, 25),
        "vector_dim": st.integers(3, 10),
        "bag_dim": st.integers(3, 10),
        "bag_min": st.integers(10, 40),
        "bag_max": st.integers(10, 60),
        "planted": st.floats(0.02, 0.1),
        "noise": st.floats(0, 2),
        "censoring": st.floats(0, 0.9),
        "missing": st.floats(0, 0.9),
        "seed": st.integers(0, 5),
    }
)


@settings(max_examples=40, deadline=None)
@given(options)
def test_any_options_give_a_sound_cohort_or_are_refused(chosen: dict) -> None:
    try:
        asked = SyntheticOptions(**chosen)
    except ValidationError:
        assert chosen["bag_max"] < chosen["bag_min"] or n_planted(chosen["bag_min"], chosen["planted"]) < 1
        return
    drawn = draw(asked)
    assert len({case.id for case in drawn.cases}) == asked.cases
    censored = sum(not case.target.event for case in drawn.cases)
    assert censored == round(asked.censoring * asked.cases)
    for case in drawn.cases:
        assert case.refs
        assert np.isfinite(case.target.time)
        assert case.target.time > 0
        planted = drawn.planted[case.id]
        assert 1 <= planted.sum() <= asked.planted * len(planted) + 1e-6
        if "bag" in case.refs:
            assert case.refs["bag"].shape == (len(planted), asked.bag_dim)
        if "vector" in case.refs:
            assert case.refs["vector"].shape == (asked.vector_dim,)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 20))
def test_a_case_looks_the_same_in_a_rerun(seed: int) -> None:
    once, again = draw(SyntheticOptions(cases=12, seed=seed)), draw(SyntheticOptions(cases=12, seed=seed))
    for a, b in zip(once.cases, again.cases, strict=True):
        assert a.target == b.target
        np.testing.assert_array_equal(a.refs["bag"], b.refs["bag"])
