"""Trees that vote on classes: a random forest and boosted trees, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fusionbench_controls.features import Floats, Ints
from fusionbench_controls.trees import Nodes

if TYPE_CHECKING:
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier


@dataclass(frozen=True)
class VotingTrees(Nodes):
    """All trees of a forest.

    Attributes:
        value: (leaf, class) share of the classes among the leaf's sampled cases.
        columns: (1,) int64 number of columns fitted on.
    """

    value: Floats
    columns: NDArray[np.int64]

    @classmethod
    def of(cls, forest: RandomForestClassifier) -> VotingTrees:
        """Copy a fitted scikit-learn forest."""
        trees = [estimator.tree_ for estimator in forest.estimators_]
        counts = np.concatenate([tree.value[tree.children_left < 0][:, 0, :] for tree in trees])
        columns = np.array([forest.n_features_in_], dtype=np.int64)
        return cls(**Nodes.joined(trees), value=counts / counts.sum(axis=1, keepdims=True), columns=columns)

    def probability(self, x: NDArray[np.float32]) -> Floats:
        """(case, column) -> (case, class): mean over the trees."""
        total = np.zeros((len(x), self.value.shape[1]))
        for leaf in self.leaves(x).T:  # one tree after another: (case, tree, class) at once is too large
            total += self.value[leaf]
        return np.asarray(total / len(self.root))


@dataclass(frozen=True)
class BoostedVotes(Nodes):
    """All trees of a boosted model of classes.

    Attributes:
        value: (leaf,) what a leaf adds to a class's logit; shrunk by the learning rate.
        of_class: (tree,) int64 the class whose logit a tree adds to.
        prior: (class,) logits before the first tree.
        columns: (1,) int64 number of columns fitted on.
    """

    value: Floats
    of_class: Ints
    prior: Floats
    columns: NDArray[np.int64]

    @classmethod
    def of(cls, model: GradientBoostingClassifier, label: Ints) -> BoostedVotes:
        """Copy a fitted scikit-learn model; `label` are the classes that it was fitted on, by which it began."""
        stages = model.estimators_  # (stage, class), or (stage, 1) for the logit of the second of two classes
        trees = [estimator.tree_ for stage in stages for estimator in stage]
        value = np.concatenate([tree.value[tree.children_left < 0, 0, 0] for tree in trees])
        width = stages.shape[1]
        of_class = np.ones(len(trees), dtype=np.int64) if width == 1 else np.tile(np.arange(width), len(stages))
        return cls(
            **Nodes.joined(trees),
            value=model.learning_rate * value,
            of_class=of_class,
            prior=np.log(np.bincount(label) / len(label)),
            columns=np.array([model.n_features_in_], dtype=np.int64),
        )

    def probability(self, x: NDArray[np.float32]) -> Floats:
        """(case, column) -> (case, class)."""
        logits = np.tile(self.prior, (len(x), 1))
        for tree, leaf in enumerate(self.leaves(x).T):  # tree by tree: a sum that does not depend on the other rows
            logits[:, self.of_class[tree]] += self.value[leaf]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))
