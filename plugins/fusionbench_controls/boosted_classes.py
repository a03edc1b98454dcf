"""Gradient boosting of classes on concatenated vectors."""

from __future__ import annotations

from dataclasses import asdict, fields

import numpy as np

from fusionbench import CaseSet, ClassPrediction, DataError, FitContext, Predictor, State
from fusionbench_controls.boosting_options import GradientBoostingOptions, sklearn_options
from fusionbench_controls.class_trees import BoostedVotes
from fusionbench_controls.features import Labelled, as_state, labelled_rows, same_columns

WHO = "gradient-boosting"
_ALL, _TRAINING = "all.", "training."


def fit_boosted_classes(
    options: GradientBoostingOptions, train: CaseSet, val: CaseSet, ctx: FitContext
) -> BoostedClassesPredictor:
    """Fit on training and validation cases together, and once more without the latter.

    Raises:
        DataError: if a class has fewer than two patients, or no tree finds a split.
    """
    rows = labelled_rows(train, val, len(ctx.task.classes), WHO)
    of_all, of_training = (int(s) for s in np.random.SeedSequence(ctx.seed).generate_state(2))
    held_out = _grown(options, rows.take(np.arange(len(train))), of_training)
    return BoostedClassesPredictor(ctx.task.classes, _grown(options, rows, of_all), held_out)


def _grown(options: GradientBoostingOptions, rows: Labelled, seed: int) -> BoostedVotes:
    from sklearn import config_context
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(**sklearn_options(options), random_state=seed)
    with config_context(skip_parameter_validation=True):  # our options are checked already
        model.fit(rows.x.astype(np.float32), rows.label)
    trees = BoostedVotes.of(model, rows.label)
    if not trees.split:
        raise DataError(
            f"{WHO}: no tree splits {len(rows)} cases into leaves of {options.min_leaf}; "
            f"give more cases or a smaller {WHO}[min_leaf=...]"
        )
    return trees


class BoostedClassesPredictor(Predictor):
    """Class probabilities of the sums over the trees."""

    def __init__(self, classes: tuple[str, ...], trees: BoostedVotes, held_out: BoostedVotes) -> None:
        """`held_out`: the model that was not fitted on the validation cases."""
        self.classes, self.trees, self.held_out = classes, trees, held_out

    @classmethod
    def restored(cls, classes: tuple[str, ...], state: State) -> BoostedClassesPredictor:
        """The inverse of `state`."""
        names = [field.name for field in fields(BoostedVotes)]
        return cls(classes, *(BoostedVotes(**{n: state[prefix + n] for n in names}) for prefix in (_ALL, _TRAINING)))

    def predict(self, cases: CaseSet) -> ClassPrediction:
        return self._said(self.trees, cases)

    def predict_validation(self, val: CaseSet) -> ClassPrediction:
        return self._said(self.held_out, val)

    def _said(self, trees: BoostedVotes, cases: CaseSet) -> ClassPrediction:
        x = same_columns(cases, int(trees.columns[0]), WHO).astype(np.float32)
        return ClassPrediction(cases.ids, self.classes, trees.probability(x))

    def state(self) -> State:
        parts = {_ALL: self.trees, _TRAINING: self.held_out}
        return as_state({prefix + name: a for prefix, trees in parts.items() for name, a in asdict(trees).items()})
