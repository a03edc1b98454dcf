"""Distances between attention weights, and instances removed from a grid."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusionbench.core.types import RawBag
from fusionbench.tools.explain.attention import jensen_shannon, total_variation
from fusionbench.tools.explain.masked_readers import without_instances

masses = arrays(np.float64, st.tuples(st.just(2), st.integers(2, 12)), elements=st.floats(0, 1))


@given(masses)
def test_distances_lie_between_0_and_1_and_are_0_for_equals(x: np.ndarray) -> None:
    p, q = (row / row.sum() if row.sum() > 0 else np.full(len(row), 1 / len(row)) for row in x)
    for distance in (total_variation, jensen_shannon):
        assert -1e-12 <= distance(p, q) <= 1 + 1e-12
        assert np.isclose(distance(p, q), distance(q, p))
        assert distance(p, p) < 1e-6
    assert total_variation(p, q) ** 2 <= 2 * np.log(2) * jensen_shannon(p, q) ** 2 + 1e-9, "Pinsker, twice"
    apart = np.concatenate([p, 0 * q]), np.concatenate([0 * p, q])
    assert np.isclose(total_variation(*apart), 1)
    assert np.isclose(jensen_shannon(*apart), 1)


@given(st.integers(1, 5), st.integers(1, 5), st.data())
def test_a_grid_without_some_instances_keeps_the_others_where_they_are(
    rows: int, columns: int, data: st.DataObject
) -> None:
    n = rows * columns
    gone = data.draw(st.sets(st.integers(0, n - 1), max_size=n - 1))
    raw = RawBag(np.arange(n, dtype=np.float32)[:, None], None, (rows, columns), np.arange(n))
    left = without_instances(raw, np.array(sorted(gone), dtype=np.intp))
    assert left.shape == (rows, columns)
    np.testing.assert_array_equal(left.piece, left.values[:, 0])
    assert left.coords is not None
    np.testing.assert_array_equal(left.coords @ [columns, 1], left.values[:, 0])
    assert set(left.values[:, 0]) == set(range(n)) - gone
