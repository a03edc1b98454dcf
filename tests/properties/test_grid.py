from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fusionbench import ModalityUse
from fusionbench.builtin.grid import Grid, GridOptions

numbers = st.floats(-1000, 1000, width=32)


@st.composite
def grids(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...]]:
    """An array (axis, ..., feature), and the edge of a block along each axis."""
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    array = draw(hnp.arrays(np.float32, (*shape, draw(st.integers(1, 3))), elements=numbers))
    return array, tuple(draw(st.integers(1, 6)) for _ in shape)


def reader(array: np.ndarray, **options: object) -> Grid:
    axes = array.ndim - 1
    return Grid("g", ModalityUse("grid", array.shape[-1]), GridOptions.model_validate({"axes": axes, **options}))


@settings(deadline=None, max_examples=80)
@given(grids())
def test_instances_are_row_major_and_their_coords_lead_back(made: tuple[np.ndarray, tuple[int, ...]]) -> None:
    array, _ = made
    raw = reader(array).load(array)
    assert raw.shape == array.shape[:-1]
    assert raw.coords is not None
    index = raw.coords.astype(int)
    assert [tuple(row) for row in index] == list(itertools.product(*map(range, raw.shape)))
    np.testing.assert_array_equal(raw.values, array[tuple(index.T)])
    np.testing.assert_array_equal(raw.values.reshape(array.shape), array)


@settings(deadline=None, max_examples=80)
@given(grids())
def test_each_position_is_the_mean_of_its_block(made: tuple[np.ndarray, tuple[int, ...]]) -> None:
    array, block = made
    raw = reader(array, downsample=block).load(array)
    assert raw.shape == tuple(math.ceil(n / edge) for n, edge in zip(array.shape, block, strict=False))
    assert raw.coords is not None
    for value, index in zip(raw.values, raw.coords.astype(int), strict=True):
        part = tuple(slice(i * edge, (i + 1) * edge) for i, edge in zip(index, block, strict=True))
        expected = array[part].astype(np.float64).reshape(-1, array.shape[-1]).mean(axis=0)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-3)
