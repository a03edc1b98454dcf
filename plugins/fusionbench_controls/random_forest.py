"""Random forest on concatenated vectors, for classes."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from fusionbench import (
    CaseSet,
    ClassPrediction,
    FitContext,
    FusionModel,
    Interval,
    Options,
    Predictor,
    RestoreContext,
    SearchSpace,
    State,
)
from fusionbench_controls.class_trees import VotingTrees
from fusionbench_controls.features import Labelled, as_state, labelled_rows, same_columns, sklearn_seed

_ALL, _TRAINING = "all.", "training."


class RandomForestOptions(Options):
    """How the trees grow.

    Attributes:
        trees: 300.
        min_leaf: smallest number of sampled cases in a leaf; 5.
        max_features: columns tried at a split; the square root of their number, as in Breiman 2001.
    """

    trees: int = Field(300, ge=1)
    min_leaf: int = Field(5, ge=1)
    max_features: Literal["sqrt", "log2"] = "sqrt"


class RandomForest(FusionModel):
    """Trees on bootstrap samples, over all columns of all modalities, bags averaged over their instances.

    A probability is the mean over the trees of the classes' shares in a case's leaf. Fitted on training and validation
    cases; what it says of a validation case comes from a second forest, of the training cases alone.

    Source: Breiman 2001.
    """

    name = "random-forest"
    version = "1"
    Options = RandomForestOptions
    missing = "impute"
    tasks: ClassVar[tuple[str, ...]] = ("binary", "multiclass")
    options: RandomForestOptions

    def search_space(self) -> SearchSpace:
        return {"min_leaf": Interval(1, 20)}

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        """Fit on training and validation cases together, and once more without the latter.

        Raises:
            DataError: if a class has fewer than two patients.
        """
        rows = labelled_rows(train, val, len(ctx.task.classes), self.name)
        forest = self._grown(rows, ctx.seed)
        held_out = self._grown(rows.take(np.arange(len(train))), ctx.seed + 1)
        return RandomForestPredictor(ctx.task.classes, forest, held_out)

    def _grown(self, rows: Labelled, seed: int) -> VotingTrees:
        from sklearn.ensemble import RandomForestClassifier

        forest = RandomForestClassifier(
            n_estimators=self.options.trees,
            min_samples_leaf=self.options.min_leaf,
            max_features=self.options.max_features,
            n_jobs=1,
            random_state=sklearn_seed(seed),
        )
        return VotingTrees.of(forest.fit(rows.x.astype(np.float32), rows.label))

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        return RandomForestPredictor(ctx.task.classes, *(_part(state, prefix) for prefix in (_ALL, _TRAINING)))


class RandomForestPredictor(Predictor):
    """Mean votes of the trees."""

    def __init__(self, classes: tuple[str, ...], trees: VotingTrees, held_out: VotingTrees) -> None:
        """`held_out`: the forest that was not fitted on the validation cases."""
        self.classes, self.trees, self.held_out = classes, trees, held_out

    def predict(self, cases: CaseSet) -> ClassPrediction:
        return self._said(self.trees, cases)

    def predict_validation(self, val: CaseSet) -> ClassPrediction:
        return self._said(self.held_out, val)

    def _said(self, trees: VotingTrees, cases: CaseSet) -> ClassPrediction:
        x = same_columns(cases, int(trees.columns[0]), RandomForest.name).astype(np.float32)
        return ClassPrediction(cases.ids, self.classes, trees.probability(x))

    def state(self) -> State:
        parts = {_ALL: self.trees, _TRAINING: self.held_out}
        return as_state({prefix + name: a for prefix, trees in parts.items() for name, a in asdict(trees).items()})


def _part(state: State, prefix: str) -> VotingTrees:
    return VotingTrees(**{field.name: state[prefix + field.name] for field in fields(VotingTrees)})
