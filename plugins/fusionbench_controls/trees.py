"""Survival trees as plain arrays, so that an ensemble is stored and restored without pickle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusionbench_controls.features import Bools, Floats

if TYPE_CHECKING:
    from sksurv.ensemble import GradientBoostingSurvivalAnalysis, RandomSurvivalForest


@dataclass(frozen=True)
class Nodes:
    """Several trees, their nodes one after another.

    Attributes:
        root: (tree,) int32 node each tree starts at.
        left, right: (node,) int32 children; -1 at leaves.
        feature: (node,) int32 column compared; 0 at leaves.
        threshold: (node,) float64; a case goes left where its float32 value is <= threshold.
        leaf: (node,) int32 number of a leaf, counted over all trees; -1 elsewhere.
    """

    root: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: Floats
    leaf: NDArray[np.int32]

    @staticmethod
    def joined(trees: Sequence[Any]) -> dict[str, NDArray[Any]]:
        """The arrays above, from scikit-learn's or scikit-survival's fitted `tree_`s."""
        root = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
        shift = np.repeat(root, [tree.node_count for tree in trees])
        left, right = (
            np.concatenate([getattr(tree, side) for tree in trees]) for side in ("children_left", "children_right")
        )
        is_leaf = left < 0
        feature = np.where(is_leaf, 0, np.concatenate([tree.feature for tree in trees]))
        return {
            "root": root.astype(np.int32),
            "left": np.where(is_leaf, -1, left + shift).astype(np.int32),
            "right": np.where(is_leaf, -1, right + shift).astype(np.int32),
            "feature": feature.astype(np.int32),
            "threshold": np.concatenate([tree.threshold for tree in trees]),
            "leaf": np.where(is_leaf, np.cumsum(is_leaf) - 1, -1).astype(np.int32),
        }

    @property
    def split(self) -> bool:
        """Some tree has more than its root."""
        return bool((self.left >= 0).any())

    def leaves(self, x: NDArray[np.float32]) -> NDArray[np.int32]:
        """(case, column) -> (case, tree) number of the leaf."""
        node = np.tile(self.root, (len(x), 1))
        case = np.arange(len(x))[:, None]
        while (inner := self.left[node] >= 0).any():
            goes_left = x[case, self.feature[node]] <= self.threshold[node]
            node = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)
        return self.leaf[node]


@dataclass(frozen=True)
class TreeArrays(Nodes):
    """All trees of a forest.

    Attributes:
        hazard: (leaf, time) float32 cumulative hazard (Nelson-Aalen) of the leaf's cases.
        times: (time,) event times, months.
        columns: (1,) int64 number of columns fitted on.
    """

    hazard: NDArray[np.float32]
    times: Floats
    columns: NDArray[np.int64]

    @classmethod
    def of(cls, forest: RandomSurvivalForest) -> TreeArrays:
        """Copy a fitted scikit-survival forest; hazards are kept at event times, between which they are flat."""
        trees = [estimator.tree_ for estimator in forest.estimators_]
        hazard = [t.value[t.children_left < 0][:, forest.is_event_time_, 0].astype(np.float32) for t in trees]
        return cls(
            **Nodes.joined(trees),
            hazard=np.concatenate(hazard),
            times=forest.unique_times_[forest.is_event_time_],
            columns=np.array([forest.n_features_in_], dtype=np.int64),
        )

    def cumulative_hazard(self, x: NDArray[np.float32], use: Bools) -> Floats:
        """(case, column) -> (case, time): mean over the trees that `use`, (case, tree) bool, lets speak for a case."""
        leaves = self.leaves(x)
        total = np.zeros((len(x), len(self.times)))
        for tree in range(len(self.root)):  # one tree after another: (case, tree, time) at once is too large
            total += np.where(use[:, tree, None], self.hazard[leaves[:, tree]], 0.0)
        return np.asarray(total / use.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class BoostedTrees(Nodes):
    """All trees of a boosted Cox model.

    Attributes:
        value: (leaf,) float64 what a leaf adds to the log hazard ratio; shrunk by the learning rate.
        times: (time,) event times, months.
        hazard: (time,) cumulative baseline hazard at `times`.
        columns: (1,) int64 number of columns fitted on.
    """

    value: Floats
    times: Floats
    hazard: Floats
    columns: NDArray[np.int64]

    @classmethod
    def of(cls, model: GradientBoostingSurvivalAnalysis, baseline: tuple[Floats, Floats]) -> BoostedTrees:
        """Copy a fitted scikit-survival model without dropout; `baseline`: event times and hazard at them."""
        trees = [stage[0].tree_ for stage in model.estimators_]
        value = np.concatenate([tree.value[tree.children_left < 0, 0, 0] for tree in trees])
        columns = np.array([model.n_features_in_], dtype=np.int64)
        times, hazard = baseline
        return cls(
            **Nodes.joined(trees), value=model.learning_rate * value, times=times, hazard=hazard, columns=columns
        )

    def log_risk(self, x: NDArray[np.float32]) -> Floats:
        """(case, column) -> (case,) log hazard ratio; higher = earlier event."""
        total = np.zeros(len(x))
        for leaf in self.leaves(x).T:  # a sum tree by tree, which does not depend on the other rows
            total += self.value[leaf]
        return total
