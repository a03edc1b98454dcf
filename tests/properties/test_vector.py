from __future__ import annotations

import json

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fusionbench import ModalityUse
from fusionbench.builtin.columns import fit_columns
from fusionbench.builtin.vector import Vector, VectorOptions

cells = st.one_of(st.floats(-1e6, 1e6, width=32), st.sampled_from([0.0, 0.0, 1.0, 2.0, -2.0, float("nan")]))
tables = hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 5)), elements=cells)
clips = st.one_of(st.none(), st.floats(0.5, 20))


@settings(deadline=None, max_examples=60)
@given(tables, clips, st.booleans())
def test_whatever_the_column_the_result_is_finite_and_scaled(x: np.ndarray, clip: float | None, scale: bool) -> None:
    numbers = fit_columns(x, clip=clip, scale=scale)
    z = numbers(x)
    assert np.isfinite(z).all()
    if scale:
        np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-6)
        assert ((np.abs(z.std(axis=0) - 1) < 1e-6) | (z == 0).all(axis=0)).all()
    other = np.full_like(x, np.nan)
    assert np.isfinite(numbers(other)).all()


@settings(deadline=None, max_examples=60)
@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_the_training_cases_does_not_matter(x: np.ndarray, random: object) -> None:
    order = list(range(len(x)))
    random.shuffle(order)
    one, other = fit_columns(x, clip=5, scale=False), fit_columns(x[order], clip=5, scale=False)
    np.testing.assert_array_equal(one(x), other(x))


@settings(deadline=None, max_examples=60)
@given(tables)
def test_clipping_keeps_the_order_of_the_cells(x: np.ndarray) -> None:
    z = fit_columns(x, clip=1, scale=True)(x)
    for column, raw in zip(z.T, x.T, strict=True):
        known = ~np.isnan(raw)
        assert (np.diff(column[known][np.argsort(raw[known])]) >= 0).all()


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 40), st.just(1)), elements=st.sampled_from([0.0, 1.0])))
def test_a_binary_column_is_never_clipped(x: np.ndarray) -> None:
    np.testing.assert_array_equal(fit_columns(x, clip=5, scale=False)(x), x)


@settings(deadline=None, max_examples=60)
@given(tables, st.sets(st.integers(0, 4)))
def test_state_and_restore_are_exact(x: np.ndarray, coded: set[int]) -> None:
    names = tuple(f"c{i}" for i in range(x.shape[1]))
    numeric = np.column_stack([x, np.arange(len(x))])  # so that a column is left where all levels are missing
    use = ModalityUse(
        "vector",
        x.shape[1] + 1,
        features=(*names, "last"),
        categorical=frozenset(n for i, n in enumerate(names) if i in coded),
        groups={"all": names},
    )
    modality = Vector("v", use, VectorOptions())
    raws = [modality.load(row) for row in numeric]
    fitted = modality.fit(raws)
    again = modality.restore(json.loads(json.dumps(fitted.state(), allow_nan=False)))
    assert again.spec == fitted.spec
    assert fitted.spec.dim == len(fitted.spec.features)
    assert torch.equal(again.mean(), fitted.mean())
    prepared = torch.cat([fitted(raw) for raw in raws])
    assert torch.equal(torch.cat([again(raw) for raw in raws]), prepared)
    torch.testing.assert_close(fitted.mean(), prepared.mean(dim=0), atol=1e-4, rtol=1e-4)
