"""The nearest instances of each instance of a bag, by their coords."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from fusionbench.core.types import NO_NEIGHBOUR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Index = NDArray[np.int64]


def nearest_instances(coords: NDArray[Any], k: int, piece: Index | None = None) -> Index:
    """(instance, k) positions of the k nearest other instances of the same piece; see `Bag.neighbours`.

    Distances are Euclidean and exact for whole numbers, as pixels are: of equally near instances the first ones count.
    Memory and time grow with the number of instances, not with its square.

    Args:
        coords: (instance, axis).
        piece: (instance,) number of the slide that an instance comes from; None = all of one.
    """
    found = np.full((len(coords), k), NO_NEIGHBOUR, dtype=np.int64)
    numbers = np.zeros(len(coords), dtype=np.int64) if piece is None else piece
    for number in np.unique(numbers):
        rows = np.flatnonzero(numbers == number)
        near = _of_one_piece(coords[rows].astype(np.float64), k)
        found[rows] = np.where(near == NO_NEIGHBOUR, NO_NEIGHBOUR, rows[near])
    return found


def _of_one_piece(points: Floats, k: int) -> Index:
    """(instance, k) positions, `NO_NEIGHBOUR` where there are fewer others."""
    near = np.full((len(points), k), NO_NEIGHBOUR, dtype=np.int64)
    # Of instances at one place only the first k + 1 can be anybody's neighbours: the tree holds no more of them.
    listed = np.flatnonzero(_rank_at_place(points) <= k)
    tree = cKDTree(points[listed])
    open_rows, asked = np.arange(len(points)), 2 * k + 2
    while len(open_rows):
        asked = min(asked, len(listed))
        # (row, candidate): `query` gives equally near ones in any order, so more are asked for and sorted here.
        at = tree.query(points[open_rows], asked)[1].reshape(len(open_rows), asked)
        candidates = listed[at]
        distance = np.square(points[candidates] - points[open_rows, None]).sum(axis=2)
        distance[candidates == open_rows[:, None]] = np.inf  # not its own neighbour
        order = np.lexsort((candidates, distance), axis=1)
        candidates, ranked = (np.take_along_axis(x, order, axis=1) for x in (candidates, distance))
        width = min(k, asked)
        near[open_rows, :width] = np.where(np.isinf(ranked[:, :width]), NO_NEIGHBOUR, candidates[:, :width])
        # Unsure where the last candidate is as near as the k-th: there may be more at that distance.
        farthest = distance.max(axis=1, where=np.isfinite(distance), initial=-1.0)
        unsure = (farthest <= ranked[:, width - 1]) if asked < len(listed) else np.zeros(len(open_rows), dtype=bool)
        open_rows, asked = open_rows[unsure], 2 * asked
    return near


def _rank_at_place(points: Floats) -> Index:
    """(instance,) how many instances before it stand at the same place."""
    _, place = np.unique(points, axis=0, return_inverse=True)
    order = np.argsort(place.reshape(-1), kind="stable")
    sorted_places = place.reshape(-1)[order]
    starts = np.searchsorted(sorted_places, sorted_places, side="left")
    rank = np.empty(len(points), dtype=np.int64)
    rank[order] = np.arange(len(points)) - starts
    return rank
