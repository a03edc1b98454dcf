"""The grid of tiles and the share of tissue, against plain formulations on any slide."""

from __future__ import annotations

import numpy as np
from fusionbench_slides.grid import Grid
from fusionbench_slides.resolution import Resolution, Said, Scale, scale_for
from fusionbench_slides.tissue import Tissue, shares
from hypothesis import given
from hypothesis import strategies as st

SIDES = st.integers(1, 5000)
TILES = st.integers(1, 600)
DOWNSAMPLES = st.one_of(st.integers(1, 64).map(float), st.floats(1, 64))


@given(SIDES, SIDES, TILES, DOWNSAMPLES, st.sampled_from([1.0, 2.0, 4.0, 4.016]))
def test_tiles_lie_within_the_slide_do_not_overlap_and_leave_no_room(
    width: int, height: int, tile: int, downsample: float, level: float
) -> None:
    if downsample < level:
        downsample = level
    grid = Grid(width, height, tile, Scale(0, level, downsample, None))
    if grid.columns * grid.rows > 20_000:
        return
    coords = grid.coords()
    assert coords.dtype == np.int64
    assert len(np.unique(coords, axis=0)) == len(coords) == grid.columns * grid.rows
    if len(coords):
        for axis, size in enumerate((width, height)):
            starts = np.unique(coords[:, axis])
            assert starts[0] == 0
            assert starts[-1] + grid.step <= size + 0.5  # half a pixel by rounding
            assert size - (starts[-1] + grid.step) < grid.step + 0.5
            assert np.all(np.abs(starts - np.arange(len(starts)) * grid.step) <= 0.5)
            assert np.all(np.diff(starts) >= np.floor(grid.step))
    assert grid.side <= grid.read + 1e-5 < grid.side + 1.001


@given(st.floats(0.1, 1), st.floats(0.1, 16), st.lists(st.floats(1.5, 5), max_size=5))
def test_no_finer_level_would_need_less_rescaling(mpp: float, wanted: float, steps: list[float]) -> None:
    levels = tuple(np.cumprod([1.0, *steps]).tolist())
    if wanted / mpp < 1:
        return
    scale = scale_for(Resolution("mpp", wanted), Said(mpp, None), levels)
    assert abs(scale.downsample / (wanted / mpp) - 1) <= 0.02 + 1e-9
    assert all(other > scale.downsample for other in levels if other > scale.level_downsample)
    assert scale.rescale >= 1


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 5), st.integers(1, 12), st.integers(0, 1000))
def test_shares_are_means_over_the_pixels_of_level_0(
    rows: int, columns: int, downsample: int, tile: int, seed: int
) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.5
    full = mask.repeat(downsample, axis=0).repeat(downsample, axis=1)
    grid = Grid(full.shape[1], full.shape[0], tile, Scale(0, 1.0, 1.0, None))
    coords = grid.coords()
    plain = [full[y : y + tile, x : x + tile].mean() for x, y in coords]
    assert np.allclose(shares(Tissue(mask, float(downsample), 0), grid, coords), plain)
