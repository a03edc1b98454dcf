"""Where a model looks in one case, layer by layer, and how far that is from where it looked before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fusionbench.core.types import Attention
from fusionbench.tools.explain.loaded_case import Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

OTHER_STARTS = 3
"""Further initialisations, which say how far two of them lie apart."""


@dataclass(frozen=True, eq=False)
class Look:
    """Attention in one modality of one case. Every row over the items sums to 1.

    Attributes:
        trained, start: (layer, item), averaged over heads; `start` of the network as the cell's seed made it.
        others: (start, layer, item) of networks made with other seeds.
        parts: name of each item to its columns; empty where items are instances.
    """

    trained: Floats
    start: Floats
    others: Floats
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def mean(self) -> Floats:
        """(item,) averaged over layers."""
        return np.asarray(self.trained.mean(axis=0))

    @property
    def moved(self) -> Floats:
        """(layer,) total variation between attention now and at its initialisation, 0..1."""
        return total_variation(self.trained, self.start)

    @property
    def moved_js(self) -> Floats:
        """(layer,) the Jensen-Shannon distance between the two, 0..1."""
        return jensen_shannon(self.trained, self.start)

    @property
    def starts_apart(self) -> Floats:
        """(layer,) mean total variation between the cell's initialisation and others."""
        return np.asarray(total_variation(self.others, self.start[None]).mean(axis=0))

    @property
    def seen(self) -> Floats:
        """(layer,) exp of the entropy: how many items as many equal weights would be."""
        return np.asarray(np.exp(_entropy(self.trained)))


def looks(subject: Subject) -> Mapping[str, Look]:
    """Modality to attention, where there is more than one item to choose from; empty for a model without attention."""
    trained = subject.predictor.attention(subject.alone())
    if trained is None:
        return {}
    worth = [n for n in subject.visible if n in trained and _rows(subject, n, trained[n]).shape[1] > 1]
    if not worth:
        return {}
    starts = [subject.untrained(i).attention(subject.alone()) or {} for i in range(OTHER_STARTS + 1)]
    made = {}
    for name in worth:
        first, *others = (_rows(subject, name, start[name]) for start in starts)
        made[name] = Look(_rows(subject, name, trained[name]), first, np.stack(others), dict(trained[name].parts))
    return made


def _rows(subject: Subject, name: str, attention: Attention) -> Floats:
    """(layer, item) over the real items, each row with sum 1."""
    items = len(attention.parts) or len(subject.bags[name].values)
    rows = attention.weights[0, :, :, :items].double().numpy().mean(axis=1)
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


def total_variation(one: Floats, other: Floats) -> Floats:
    """Half the sum of absolute differences of distributions over the last axis: 0 = equal, 1 = disjoint."""
    return np.asarray(0.5 * np.abs(one - other).sum(axis=-1))


def jensen_shannon(one: Floats, other: Floats) -> Floats:
    """The root of the Jensen-Shannon divergence in bits, over the last axis: 0 = equal, 1 = disjoint.

    Source: Endres and Schindelin 2003.
    """
    mixed = _entropy((one + other) / 2) - (_entropy(one) + _entropy(other)) / 2
    return np.asarray(np.sqrt(np.clip(mixed / np.log(2), 0.0, 1.0)))


def _entropy(p: Floats) -> Floats:
    """In nats, over the last axis."""
    safe = np.where(p > 0, p, 1.0)
    return np.asarray(-(p * np.log(safe)).sum(axis=-1))
