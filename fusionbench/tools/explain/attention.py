"""Attention of a stored model on one case, layer by layer, and its distance from the attention before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fusionbench.core.types import Attention
from fusionbench.tools.explain.loaded_case import LoadedCase

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DISTANCES = ("total_variation", "jensen_shannon", "total_variation_between_seeds")
"""Columns of distances between attention weights."""
OTHER_SEEDS = 3
"""Initialisations with other seeds; the distances between them are the scale for the distance that training made."""


@dataclass(frozen=True, eq=False)
class ItemAttention:
    """Attention weights on one modality of one case, averaged over heads. Every row over the items sums to 1.

    Attributes:
        trained: (layer, item) of the stored model.
        initial: (layer, item) of the same network before training, initialised with the cell's seed.
        other_initial: (seed, layer, item) of untrained networks initialised with other seeds.
        item_columns: name of each item to the prepared columns it stands for; empty where items are instances.
    """

    trained: Floats
    initial: Floats
    other_initial: Floats
    item_columns: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def mean(self) -> Floats:
        """(item,) trained attention averaged over layers; sums to 1."""
        return np.asarray(self.trained.mean(axis=0))

    @property
    def relative(self) -> Floats:
        """(item,) `mean` times the number of items: 1 is an even share."""
        return self.mean * len(self.mean)

    @property
    def distance_from_initial(self) -> Floats:
        """(layer,) total variation between trained and initial attention: 0 = equal, 1 = disjoint."""
        return total_variation(self.trained, self.initial)

    @property
    def distance_between_seeds(self) -> Floats:
        """(layer,) mean total variation between the cell's initialisation and those with other seeds."""
        return np.asarray(total_variation(self.other_initial, self.initial[None]).mean(axis=0))

    @property
    def distances(self) -> Mapping[str, Floats]:
        """`DISTANCES` to (layer,) values: of trained from initial attention, twice, and between initialisations."""
        values = (
            self.distance_from_initial,
            jensen_shannon(self.trained, self.initial),
            self.distance_between_seeds,
        )
        return dict(zip(DISTANCES, values, strict=True))

    @property
    def effective_items(self) -> Floats:
        """(layer,) exp of the entropy: the number of items with equal weights that would have the same entropy."""
        return np.asarray(np.exp(_entropy(self.trained)))


def attention_maps(loaded: LoadedCase) -> Mapping[str, ItemAttention]:
    """Modality to attention, for modalities with more than one item; empty for a model without attention.

    Attention on tokens that a preparation made is left out: they are no parts of the case that could be removed.
    """
    trained = loaded.predictor.attention(loaded.case_set)
    if trained is None:
        return {}
    parts = [name for name in loaded.visible if name not in loaded.predictor.preprocessor.tokenised]
    # A single item has weight 1 in every network, so its attention says nothing.
    names = [n for n in parts if n in trained and _rows(loaded, n, trained[n]).shape[1] > 1]
    if not names:
        return {}
    untrained = [loaded.untrained(i).attention(loaded.case_set) or {} for i in range(OTHER_SEEDS + 1)]
    maps = {}
    for name in names:
        initial, *others = (_rows(loaded, name, attention[name]) for attention in untrained)
        columns = dict(trained[name].parts)
        maps[name] = ItemAttention(_rows(loaded, name, trained[name]), initial, np.stack(others), columns)
    return maps


def _rows(loaded: LoadedCase, modality: str, attention: Attention) -> Floats:
    """(layer, item) mean over heads on the case's real items, each row with sum 1."""
    # A model may pad the bag; weights behind the last real item are cut off before the rows are normalised.
    items = len(attention.parts) or len(loaded.prepared[modality].values)
    rows = attention.weights[0, :, :, :items].double().numpy().mean(axis=1)
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


def total_variation(p: Floats, q: Floats) -> Floats:
    """Half the sum of absolute differences of distributions over the last axis: 0 = equal, 1 = disjoint."""
    return np.asarray(0.5 * np.abs(p - q).sum(axis=-1))


def jensen_shannon(p: Floats, q: Floats) -> Floats:
    """Square root of the Jensen-Shannon divergence in bits, over the last axis: 0 = equal, 1 = disjoint.

    The root, unlike the divergence, is a metric.

    Source: Endres and Schindelin 2003.
    """
    divergence = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
    # Rounding may leave a divergence of -1e-17 for equal distributions.
    return np.asarray(np.sqrt(np.clip(divergence / np.log(2), 0.0, 1.0)))


def _entropy(p: Floats) -> Floats:
    """Shannon entropy in nats over the last axis, with 0 log 0 = 0."""
    safe = np.where(p > 0, p, 1.0)
    return np.asarray(-(p * np.log(safe)).sum(axis=-1))
