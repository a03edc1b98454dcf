"""Neighbours by coords, squares, coarse grids, and bags without their padding."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fusionbench.core.errors import DataError
from fusionbench.core.types import NO_NEIGHBOUR, Bag, ModalitySpec, PreparedBag, PreparedCase
from fusionbench.data.bag_parts import with_neighbours
from fusionbench.data.collate import collate
from fusionbench.nn import coarse_grid, squares, unpadded
from fusionbench.nn.neighbours import nearest_instances

SPECS = {"image": ModalitySpec("image", "bag", 2)}


def plain_neighbours(coords, k, piece):
    """All pairs, sorted by distance and position."""
    found = np.full((len(coords), k), NO_NEIGHBOUR)
    for i, at in enumerate(coords):
        others = [j for j in range(len(coords)) if j != i and piece[i] == piece[j]]
        near = sorted(others, key=lambda j: (np.square(coords[j] - at).sum(), j))[:k]
        found[i, : len(near)] = near
    return found


@pytest.mark.parametrize("side", [1, 2, 4, 30], ids="all on {0} x {0} places".format)
def test_neighbours_are_those_of_all_pairs(side):
    """On few places, nearly all distances are equal ones, and many instances share a place."""
    rng = np.random.default_rng(side)
    for n, k, axes in itertools.product((1, 2, 5, 90), (1, 3, 8), (1, 2, 3)):
        coords, piece = rng.integers(0, side, (n, axes)), rng.integers(0, 3, n)
        assert np.array_equal(nearest_instances(coords, k), plain_neighbours(coords, k, np.zeros(n)))
        assert np.array_equal(nearest_instances(coords, k, piece), plain_neighbours(coords, k, piece))


def test_of_many_equally_near_instances_the_first_count():
    """Twelve places at one distance from the middle: more than are looked for at once."""
    steps = [(5 * a, 5 * b, 5 * c) for a in (0, 1, -1) for b in (0, 1, -1) for c in (0, 1, -1)]
    coords = np.array([s for s in steps if abs(s[0]) + abs(s[1]) + abs(s[2]) != 5])
    rings = np.concatenate([[[0, 0, 0]], np.random.default_rng(0).permutation(coords)])
    assert np.array_equal(nearest_instances(rings, 1), plain_neighbours(rings, 1, np.zeros(len(rings))))


def case(name, n, *, coords=True, piece=None):
    values = torch.randn(n, 2, generator=torch.Generator().manual_seed(n))
    at = torch.stack([torch.arange(n) * 256, torch.zeros(n)], dim=1) if coords else None
    return PreparedCase(name, {"image": PreparedBag(values, at, None, piece)})


def test_neighbours_and_slides_are_padded_with_their_bags():
    piece = torch.tensor([0, 0, 1, 1])
    cases = [with_neighbours(c, 2, SPECS) for c in (case("a", 4, piece=piece), case("b", 1), case("c", 3))]
    bag = collate([*cases, PreparedCase("d", {})], SPECS).bags["image"]
    none = NO_NEIGHBOUR
    assert bag.neighbours.tolist() == [
        [[1, none], [0, none], [3, none], [2, none]],
        [[none, none]] * 4,
        [[1, 2], [0, 2], [1, 0], [none, none]],
        [[none, none]] * 4,
    ]
    assert bag.piece.tolist() == [[0, 0, 1, 1], *[[0] * 4] * 3]
    assert bag.lengths.tolist() == [4, 1, 3, 0]
    assert Bag(bag.values, bag.mask).lengths.tolist() == [4, 1, 3, 0]


def test_neighbours_need_coords():
    with pytest.raises(DataError, match=r"'image' of case 'a': this model needs neighbours.* no coords; extract them"):
        with_neighbours(case("a", 4, coords=False), 2, SPECS)


def test_bags_come_one_by_one_without_padding():
    cases = [with_neighbours(case(str(n), n), 2, SPECS) for n in (3, 1, 5)]
    bag = collate([*cases, PreparedCase("none", {})], SPECS).bags["image"]
    for (i, own), alone in zip(unpadded(bag), cases, strict=True):
        expected = collate([alone], SPECS).bags["image"]
        assert own.lengths.tolist() == [len(alone.bags["image"].values)] == [int(bag.lengths[i])]
        for part in ("values", "mask", "coords", "neighbours", "rows"):
            assert torch.equal(getattr(own, part), getattr(expected, part))


def test_a_square_is_that_of_the_bag_alone():
    lengths = [1, 2, 4, 5, 9, 10, 0, 3, 12]
    values = torch.randn(len(lengths), 12, 3)
    seen = {}
    for laid in squares(values, torch.tensor(lengths)):
        assert laid.values.shape[1:] == (laid.side**2, 3)
        seen |= dict(zip(laid.rows.tolist(), laid.values, strict=True))
    assert sorted(seen) == [0, 1, 2, 3, 4, 5, 7, 8]
    for i, own in seen.items():
        real = values[i, : lengths[i]]
        side = math.ceil(math.sqrt(lengths[i]))
        # TransMIL's rule: the first s * s - N instances once more
        assert torch.equal(own, torch.cat([real, real[: side * side - lengths[i]]]))


def test_a_coarse_grid_has_the_mean_of_each_cell():
    coords = torch.tensor([[100.0, 50], [100, 90], [180, 50], [110, 55]])
    bag = PreparedBag(torch.tensor([[1.0, 0], [2, 0], [3, 0], [5, 2]]), coords)
    long = PreparedCase("long", {"image": PreparedBag(torch.ones(6, 2), torch.arange(12.0).reshape(6, 2))})
    batch = collate([PreparedCase("a", {"image": bag}), long, PreparedCase("none", {})], SPECS)
    grid, filled = coarse_grid(batch.bags["image"], 2)
    # 80 is the longest extent: cells of 40, the second coordinate 90 lying in the second
    assert grid[0].tolist() == [[[3.0, 1.0], [2.0, 0.0]], [[3.0, 0.0], [0.0, 0.0]]]
    assert filled[0].tolist() == [[True, True], [True, False]]
    assert not filled[2].any()
    assert not grid[2].any()
    with pytest.raises(DataError, match="needs coords"):
        coarse_grid(Bag(torch.ones(1, 2, 2), torch.ones(1, 2, dtype=torch.bool)), 2)


def test_slides_of_a_case_lie_one_over_the_other_in_a_coarse_grid():
    coords = torch.tensor([[0.0, 0], [8, 8], [1000, 1000], [1004, 1004]])
    bag = PreparedBag(torch.tensor([[1.0, 0], [2, 0], [3, 0], [5, 0]]), coords, None, torch.tensor([0, 0, 1, 1]))
    grid, _ = coarse_grid(collate([PreparedCase("a", {"image": bag})], SPECS).bags["image"], 2)
    assert grid[0, ..., 0].tolist() == [[2.0, 0.0], [0.0, 3.5]]
    # A slide may have no instance left where a bag was cut.
    apart = replace(bag, piece=torch.tensor([0, 0, 2, 2]))
    again, _ = coarse_grid(collate([PreparedCase("a", {"image": apart})], SPECS).bags["image"], 2)
    assert torch.equal(again, grid)
