"""How long what is left of a suite will take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from fusionbench.core.plugin_ref import PluginRef
from fusionbench.suites.cell import Cell
from fusionbench.tools.status.stored import Cells, Stored

Like = Callable[[Sequence[Any]], tuple[Any, ...]]
"""What of a place makes two cells cost about the same."""


def seconds_left(todo: Sequence[Cell], over: Sequence[bool], cells: Cells) -> float | None:
    """Mean seconds of finished cells: of the same dataset, model and modalities, else the nearest that there are.

    Args:
        over: whether nothing is left to compute, for each of `todo`.

    Returns:
        None where something is left and nothing like it has finished.
    """
    finished = [s for s in cells.readable.values() if s.status == "ok"]
    likes: tuple[Like, ...] = (
        lambda place: (*place[:3],),
        lambda place: (*place[:2],),
        lambda place: (PluginRef.parse(place[1]).name,),
        lambda place: (),
    )
    means = [_means(finished, like) for like in likes]
    left = 0.0
    for cell, is_over in zip(todo, over, strict=True):
        if is_over:
            continue
        known = (of.get(like(cell.row)) for like, of in zip(likes, means, strict=True))
        seconds = next((mean for mean in known if mean is not None), None)
        if seconds is None:
            return None
        left += seconds
    return left


def _means(finished: Sequence[Stored], like: Like) -> dict[tuple[Any, ...], float]:
    of: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for stored in finished:
        of[like(stored.place)].append(stored.seconds)
    return {key: fmean(seconds) for key, seconds in of.items()}
