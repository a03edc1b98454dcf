"""Sound plugins of unusual data: graphs, whose refs are tuples of arrays, and texts; both readers add columns."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fusionbench import (
    Case,
    DataError,
    Dataset,
    DatasetInfo,
    FittedModality,
    Fold,
    Modality,
    ModalitySpec,
    ModalityUse,
    RawBag,
    SurvivalTarget,
)
from fusionbench.builtin.instances import InstanceOptions, fit_instances, restore_instances

FEATURES, WORDS = 3, 16


def graph(seed: int) -> tuple[Any, Any]:
    """(node, feature) float64 and (2, edge) int64."""
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(2, 6))
    return rng.normal(size=(nodes, FEATURES)), rng.integers(0, nodes, size=(2, 2 * nodes))


class Widening(Modality):
    """Standardises what `load` gives, in `width` columns."""

    Options = InstanceOptions
    options: InstanceOptions
    width: int

    def fit(self, train: Iterable[RawBag]) -> FittedModality:
        return fit_instances(self._spec(), train, self.options)

    def restore(self, state: Mapping[str, Any]) -> FittedModality:
        return restore_instances(self._spec(), state)

    def _spec(self) -> ModalitySpec:
        return ModalitySpec(self.label, self.kind, self.width)


class GraphReader(Widening):
    """A ref is (nodes, edges); an instance is a node's features and the mean of those of its neighbours."""

    name = "graph"
    kind = "bag"

    @property
    def width(self) -> int:  # type: ignore[override]
        return 2 * self.use.dim

    def load(self, ref: Any) -> RawBag:
        nodes, (source, target) = ref
        if nodes.ndim != 2 or nodes.shape[1] != self.use.dim:
            raise DataError(f"nodes of shape {nodes.shape}, expected (node, {self.use.dim})")
        if not np.isfinite(nodes).all():
            raise DataError("a node has a feature that is NaN or infinite")
        reached = np.zeros((len(nodes), len(nodes)))
        reached[target, source] = 1
        neighbours = reached @ nodes / np.maximum(reached.sum(axis=1, keepdims=True), 1)
        return RawBag(np.concatenate([nodes, neighbours], axis=1))

    @classmethod
    def examples(cls) -> tuple[ModalityUse, Sequence[Any]]:
        return ModalityUse(cls.name, FEATURES), [graph(i) for i in range(10)]


class GraphCohort(Dataset):
    """Thirty generated graphs; its published test sets are drawn anew for each fold, so that they overlap."""

    name = "graphs"

    def info(self) -> DatasetInfo:
        return DatasetInfo("Thirty graphs", {"cells": ModalityUse("graph", FEATURES)})

    def cases(self, unit: str = "patient") -> Sequence[Case]:
        target = [SurvivalTarget(1.0 + i, i % 2 == 0) for i in range(30)]
        return tuple(Case(f"graph-{i}", f"graph-{i}", target[i], {"cells": graph(i)}) for i in range(30))

    def folds(self) -> Sequence[Fold]:
        ids = tuple(f"graph-{i}" for i in range(30))
        return [Fold(ids[10:], (), ids[:10]), Fold((*ids[:5], *ids[15:]), (), ids[5:15])]


class TextReader(Widening):
    """A ref is a text; its words are counted in 16 columns by their checksums."""

    name = "text"
    kind = "vector"
    width = WORDS

    def load(self, ref: Any) -> RawBag:
        if not isinstance(ref, str) or not ref.strip():
            raise DataError(f"expected a text, got {ref!r}")
        counts = np.zeros((1, WORDS))
        for word in ref.lower().split():
            counts[0, zlib.crc32(word.encode()) % WORDS] += 1
        return RawBag(counts)

    @classmethod
    def examples(cls) -> tuple[ModalityUse, Sequence[Any]]:
        return ModalityUse(cls.name, 1), [f"grade {i} tumour of {10 * i} mm, margins free" for i in range(10)]


class TextCohort(Dataset):
    """Thirty generated findings, whose case ids come out of an array of texts."""

    name = "texts"

    def info(self) -> DatasetInfo:
        return DatasetInfo("Thirty findings", {"finding": ModalityUse("text", 1)})

    def cases(self, unit: str = "patient") -> Sequence[Case]:
        ids = np.array([f"text-{i}" for i in range(30)])
        words = [" ".join(f"word{(i * k) % 23}" for k in range(1, 12)) for i in range(30)]
        target = [SurvivalTarget(1.0 + i, i % 2 == 0) for i in range(30)]
        return tuple(Case(id_, id_, target[i], {"finding": words[i]}) for i, id_ in enumerate(ids))
