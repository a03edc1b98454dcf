from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionbench.data.preprocessing import fit_preprocessor
from fusionbench.testing.toys import TOYS, toy_cases, toy_modalities

NAMES = tuple(TOYS)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100), st.sets(st.integers(0, 19), min_size=10, max_size=19))
def test_nothing_of_the_other_cases_reaches_a_fitted_state(seed: int, chosen: set[int]) -> None:
    cases = toy_cases(20, seed, NAMES, missing=0.3)
    train = [cases[i] for i in sorted(chosen)]
    names = [n for n in NAMES if any(n in case.refs for case in train)]
    noise = np.random.default_rng(seed)
    others = [
        replace(c, refs={n: 100 * noise.standard_normal(r.shape) for n, r in c.refs.items()})
        for i, c in enumerate(cases)
        if i not in chosen
    ]
    fresh = fit_preprocessor(toy_modalities(names), train)
    readers = toy_modalities(names)
    fit_preprocessor(readers, [*train, *others])  # readers that have seen everything must not remember it
    used = fit_preprocessor(readers, train)
    for case in others:
        used.prepare(case, tuple(n for n in names if n in case.refs))
    assert used.state() == fresh.state()
    assert all(set(ids) <= {case.id for case in train} for ids in used.ledger.values())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100), st.data())
def test_a_prepared_case_shows_what_is_visible_and_no_more(seed: int, data: st.DataObject) -> None:
    cases = toy_cases(12, seed, NAMES, missing=0.2)
    fitted = fit_preprocessor(toy_modalities(NAMES), cases)
    case = data.draw(st.sampled_from(cases))
    visible = tuple(data.draw(st.sets(st.sampled_from(sorted(case.refs)))))
    assert set(fitted.prepare(case, visible).bags) == set(visible)
    assert set(fitted.imputing().prepare(case, visible).bags) == set(NAMES)
