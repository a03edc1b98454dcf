"""What happens to the risk when something of a case is left out, and whether attention had pointed at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from fusionbench.core.errors import PluginError
from fusionbench.core.seeds import derive
from fusionbench.tools.explain.attention import Look
from fusionbench.tools.explain.loaded_case import Subject
from fusionbench.tools.explain.masked_readers import Partly, with_average, without_instances

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Places = NDArray[np.intp]

WORK = 1 << 32
"""Bytes of prepared cases that one modality's occlusion may take, 4 GiB: a bag of 5,000 x 1,024 goes 200 times."""
FEWEST, MOST = 64, 1024
"""Single occlusions of a modality; where there are more items they are left out in so many blocks."""
STEPS = 8
"""Values of k on a curve."""


@dataclass(frozen=True, eq=False)
class Items:
    """What can be left out of a modality, one by one.

    Attributes:
        names: of parts and columns; empty for instances.
        columns: of each part; empty for instances.
        note: what of the modality is not looked at.
    """

    count: int
    names: tuple[str, ...] = ()
    columns: tuple[tuple[int, ...], ...] = ()
    note: str = ""


@dataclass(frozen=True, eq=False)
class Curve:
    """Absolute change of the risk when k items are left out.

    Attributes:
        top, bottom: (k,) those with the most and with the least attention.
        random: (draw, k) any.
    """

    k: Places
    top: Floats
    bottom: Floats
    random: Floats


@dataclass(frozen=True, eq=False)
class Occlusion:
    """What leaving out does to the risk, in one modality of one case.

    Attributes:
        blocks: items that were left out together; single ones wherever there is time for that.
        contributions: (block,) risk with the block minus risk without it: above 0 = the block raises the risk.
        of_modality: the contribution of the whole modality; NaN where the case has no other.
        curve: None without attention.
        agreement: Spearman's rank correlation of a block's mean attention with |contribution|; NaN with `why_none`.
    """

    items: Items
    blocks: tuple[Places, ...]
    contributions: Floats
    of_modality: float
    curve: Curve | None
    agreement: float
    why_none: str

    @property
    def by_item(self) -> Floats:
        """(item,) the contribution of the block that an item is in; NaN where it is in none."""
        made = np.full(self.items.count, np.nan)
        for block, contribution in zip(self.blocks, self.contributions, strict=True):
            made[block] = contribution
        return made


def occlude(subject: Subject, name: str, look: Look | None, draws: int) -> Occlusion:
    """Leave out each item of a modality, and k of them at once."""
    most = int(np.clip(WORK // max(subject.bytes, 1), FEWEST, MOST))
    items = _items(subject, name, look)
    order = _order(subject, name, look, items)
    if look is None and items.columns and len(order) > most:
        note = f"only the {most} columns furthest from the training mean, of {len(order)}"
        items, order = Items(items.count, items.names, items.columns, note), order[:most]
    alone = items.count == 1 and not items.columns
    blocks = () if alone else tuple(np.array_split(order, min(most, len(order))))

    def contributions_of(gone: Sequence[Places]) -> Floats:
        parts = [gone[i : i + subject.at_once] for i in range(0, len(gone), subject.at_once)]
        made = [
            subject.contributions(name, [_left_out(subject, name, items, block) for block in part]) for part in parts
        ]
        return np.concatenate(made) if made else np.zeros(0)

    single = contributions_of(blocks)
    curve = None if look is None else _curve(order, contributions_of, draws, derive(subject.cell.seed, "explain", name))
    agreement, why = _agreement(look, blocks, single)
    return Occlusion(items, blocks, single, subject.modality_contribution(name), curve, agreement, why)


def _items(subject: Subject, name: str, look: Look | None) -> Items:
    if look is not None and look.parts:
        return Items(len(look.parts), tuple(look.parts), tuple(look.parts.values()))
    spec, instances = subject.predictor.preprocessor.specs[name], len(subject.bags[name].values)
    if instances != len(subject.raw[name].values):
        raise PluginError(
            f"modality {name!r}: {len(subject.raw[name].values)} instances are read and {instances} come of them, so "
            "that what is looked at cannot be left out"
        )
    if spec.kind != "vector":
        return Items(instances)
    return Items(spec.dim, spec.columns, tuple((i,) for i in range(spec.dim)))


def _order(subject: Subject, name: str, look: Look | None, items: Items) -> Places:
    """Items from the one that is looked at most; without attention columns from the training mean, or as they stand."""
    if look is not None:
        return np.argsort(-look.mean, kind="stable")
    if not items.columns:
        return np.arange(items.count)
    average = subject.predictor.preprocessor.parts[name].fitted.mean()
    away = (subject.bags[name].values[0] - average).abs().numpy()
    return np.argsort(-away, kind="stable")


def _left_out(subject: Subject, name: str, items: Items, gone: Places) -> Partly:
    raw = subject.raw[name]
    if not items.columns:
        return without_instances(raw, gone)
    return with_average(raw, sorted({column for item in gone for column in items.columns[item]}))


def _curve(order: Places, contributions_of: Callable[[Sequence[Places]], Floats], draws: int, seed: int) -> Curve:
    """For about STEPS values of k, from one item to all but one."""
    n, rng = len(order), np.random.default_rng(seed)
    k = np.unique(np.round(np.geomspace(1, n - 1, STEPS)).astype(np.intp))
    orders = [order, order[::-1], *(rng.permutation(n) for _ in range(draws))]
    moved = np.abs(contributions_of([way[:size] for way in orders for size in k])).reshape(len(orders), len(k))
    return Curve(k, moved[0], moved[1], moved[2:])


def _agreement(look: Look | None, blocks: Sequence[Places], contributions: Floats) -> tuple[float, str]:
    if look is None:
        return float("nan"), "there is no attention to agree with"
    weights, moved = np.array([look.mean[block].mean() for block in blocks]), np.abs(contributions)
    if len(blocks) < 3:
        return float("nan"), f"{len(blocks)} items have no rank correlation worth the name"
    if np.ptp(weights) == 0 or np.ptp(moved) == 0:
        return float("nan"), "attention is even" if np.ptp(weights) == 0 else "the risk does not change"
    return float(stats.spearmanr(weights, moved).statistic), ""
