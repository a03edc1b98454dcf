"""Occlusion: contributions of a case's items to its predicted score, and whether attention ranks items alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from fusionbench.core.errors import PluginError
from fusionbench.core.seeds import derive
from fusionbench.tools.explain.attention import ItemAttention
from fusionbench.tools.explain.loaded_case import LoadedCase
from fusionbench.tools.explain.masked_readers import MaskedBag, with_mean_columns, without_instances
from fusionbench.tools.explain.score import ExplainedScore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

OCCLUSION_BYTES = 1 << 32
"""Bytes of prepared cases that one modality's occlusion may predict, 4 GiB: 200 times a bag of 5,000 x 1,024."""
MIN_BLOCKS, MAX_BLOCKS = 64, 1024
"""Bounds of the number of blocks of a modality, whatever the size of the case."""
CURVE_POINTS = 8
"""Values of k on a curve, about."""
MIN_RANKED = 3
"""Blocks that a rank correlation needs at least."""


@dataclass(frozen=True, eq=False)
class Items:
    """The parts of a modality that can be masked one by one: instances, columns or groups of columns.

    Attributes:
        names: of columns and groups; empty for instances.
        columns: prepared columns of each item; empty for instances.
        note: which items are not masked, and why; empty where all are.
    """

    count: int
    names: tuple[str, ...] = ()
    columns: tuple[tuple[int, ...], ...] = ()
    note: str = ""


@dataclass(frozen=True, eq=False)
class Curve:
    """Absolute change of the score when k items are masked together.

    Attributes:
        k: (k,) numbers of masked items, ascending.
        top: (k,) the items with the most attention.
        bottom: (k,) the items with the least attention.
        random: (draw, k) the first k items of a random order.
    """

    k: Indices
    top: Floats
    bottom: Floats
    random: Floats


@dataclass(frozen=True, eq=False)
class Occlusion:
    """Contributions to the predicted risk or log odds in one modality of one case.

    Attributes:
        blocks: indices of items that are masked together; of one item each where the case is small enough.
        contributions: (block,) score with the block minus score without it: above 0 = the block raises it.
        modality_contribution: of the whole modality; NaN where the case has no other.
        curve: None without attention.
        agreement: Spearman's rank correlation of a block's mean attention with |contribution|, -1 to 1; NaN where it
            is undefined.
        agreement_undefined: the reason for a NaN, else empty.
    """

    items: Items
    blocks: tuple[Indices, ...]
    contributions: Floats
    modality_contribution: float
    curve: Curve | None
    agreement: float
    agreement_undefined: str

    @property
    def by_item(self) -> Floats:
        """(item,) contribution of the block that an item is in; NaN where it is in none."""
        values = np.full(self.items.count, np.nan)
        for block, contribution in zip(self.blocks, self.contributions, strict=True):
            values[block] = contribution
        return values


def occlude(loaded: LoadedCase, modality: str, attention: ItemAttention | None, draws: int) -> Occlusion:
    """Contributions of the items of a modality, and with attention the curve over k masked items.

    Args:
        attention: on the modality; None where the model has none.
        draws: random orders of the curve.
    """
    most = int(np.clip(OCCLUSION_BYTES // max(loaded.prepared_bytes, 1), MIN_BLOCKS, MAX_BLOCKS))
    items = _items(loaded, modality, attention)
    order = _order(loaded, modality, attention, items)
    if attention is None and items.columns and len(order) > most:
        items = replace(items, note=f"only the {most} columns furthest from the training mean, of {len(order)}")
        order = order[:most]
    # A bag without its only instance is no bag. A vector's only column can be set to its mean.
    single = items.count == 1 and not items.columns
    # Neighbours in the order share a block: items of like attention, whose contributions are then least mixed up.
    blocks = () if single else tuple(np.array_split(order, min(most, len(order))))

    def contributions_of(masks: Sequence[Indices]) -> Floats:
        # Masked bags are made batch by batch: all of them together may be as large as OCCLUSION_BYTES.
        batches = [masks[i : i + loaded.batch_size] for i in range(0, len(masks), loaded.batch_size)]
        values = [
            loaded.contributions(modality, [_masked(loaded, modality, items, mask) for mask in batch])
            for batch in batches
        ]
        return np.concatenate(values) if values else np.zeros(0)

    contributions = contributions_of(blocks)
    curve = None
    if attention is not None:
        curve = _curve(order, contributions_of, draws, derive(loaded.cell.seed, "explain", modality))
    agreement, undefined = _agreement(attention, blocks, contributions, loaded.score)
    whole = loaded.modality_contribution(modality)
    return Occlusion(items, blocks, contributions, whole, curve, agreement, undefined)


def _items(loaded: LoadedCase, modality: str, attention: ItemAttention | None) -> Items:
    if attention is not None and attention.item_columns:
        columns = attention.item_columns
        return Items(len(columns), tuple(columns), tuple(columns.values()))
    spec = loaded.predictor.preprocessor.parts[modality].fitted.spec
    raw, prepared = len(loaded.raw[modality].values), len(loaded.prepared[modality].values)
    if prepared != raw:
        raise PluginError(
            f"modality {modality!r}: preprocessing turns {raw} instances into {prepared}, so the instances that a "
            "model sees cannot be removed one by one"
        )
    if spec.kind != "vector":
        return Items(prepared)
    return Items(spec.dim, spec.columns, tuple((i,) for i in range(spec.dim)))


def _order(loaded: LoadedCase, modality: str, attention: ItemAttention | None, items: Items) -> Indices:
    """(item,) indices by falling attention; without it columns by falling distance from the training mean."""
    if attention is not None:
        return np.argsort(-attention.mean, kind="stable")
    if not items.columns:
        return np.arange(items.count)
    mean = loaded.predictor.preprocessor.parts[modality].fitted.mean()
    # Masking sets a column to its mean, so columns near it can hardly contribute and are the ones to skip.
    distance = (loaded.prepared[modality].values[0] - mean).abs().numpy()
    return np.argsort(-distance, kind="stable")


def _masked(loaded: LoadedCase, modality: str, items: Items, mask: Indices) -> MaskedBag:
    raw = loaded.raw[modality]
    if not items.columns:
        return without_instances(raw, mask)
    return with_mean_columns(raw, sorted({column for item in mask for column in items.columns[item]}))


def _curve(order: Indices, contributions_of: Callable[[Sequence[Indices]], Floats], draws: int, seed: int) -> Curve:
    """The curve at about CURVE_POINTS values of k, from one item to all but one."""
    n, rng = len(order), np.random.default_rng(seed)
    # Geometric steps: most of the change comes with the first few items. Rounding makes some equal.
    k = np.unique(np.round(np.geomspace(1, n - 1, CURVE_POINTS)).astype(np.intp))
    orders = [order, order[::-1], *(rng.permutation(n) for _ in range(draws))]
    changes = np.abs(contributions_of([ranking[:size] for ranking in orders for size in k])).reshape(
        len(orders), len(k)
    )
    return Curve(k, changes[0], changes[1], changes[2:])


def _agreement(
    attention: ItemAttention | None, blocks: Sequence[Indices], contributions: Floats, score: ExplainedScore
) -> tuple[float, str]:
    """Rank correlation of the blocks' mean attention with |contribution|, or NaN and the reason."""
    if attention is None:
        return float("nan"), "the model has no attention"
    if len(blocks) < MIN_RANKED:
        return float("nan"), f"{len(blocks)} items are too few for a rank correlation"
    weights, sizes = np.array([attention.mean[block].mean() for block in blocks]), np.abs(contributions)
    unchanged = f"the {score.name} {'do' if score.label else 'does'} not change"
    if np.ptp(weights) == 0 or np.ptp(sizes) == 0:
        return float("nan"), "attention is even" if np.ptp(weights) == 0 else unchanged
    return float(stats.spearmanr(weights, sizes).statistic), ""
