"""Gradient-boosted Cox regression on concatenated vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fusionbench import (
    CaseSet,
    DataError,
    FitContext,
    FusionModel,
    Interval,
    Predictor,
    RestoreContext,
    SearchSpace,
    State,
    SurvivalPrediction,
)
from fusionbench.survival import breslow_baseline
from fusionbench_controls.boosted_classes import BoostedClassesPredictor, fit_boosted_classes
from fusionbench_controls.boosting_options import GradientBoostingOptions, sklearn_options
from fusionbench_controls.features import Outcomes, as_state, fitting_rows, same_columns
from fusionbench_controls.hazards import curves, prediction
from fusionbench_controls.trees import BoostedTrees

_ALL, _TRAINING = "all.", "training."


class GradientBoosting(FusionModel):
    """Gradient-boosted trees (Cox loss) on the columns of all modalities; bags are averaged over their instances.

    Of classes the trees are boosted on the log loss, one tree a class and stage (of two classes one tree a stage).

    Fitted on training and validation cases, of which none decides anything but the trees: no penalty, number of trees
    or epoch is chosen. What it says of a validation case comes from a second model, of the training cases alone. Risk
    is the log hazard ratio, S has Breslow's baseline.

    Source: Friedman 2001 and 2002; Ridgeway 1999 for the partial likelihood.
    """

    name = "gradient-boosting"
    version = "1"
    Options = GradientBoostingOptions
    missing = "impute"
    tasks: ClassVar[tuple[str, ...]] = ("survival", "binary", "multiclass")
    options: GradientBoostingOptions

    def search_space(self) -> SearchSpace:
        return {
            "trees": Interval(50, 400),
            "learning_rate": Interval(0.01, 0.2, log=True),
            "depth": Interval(1, 4),
            "min_leaf": Interval(5, 30),
        }

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        """Fit on training and validation cases together, and once more without the latter.

        Raises:
            DataError: if fewer than two cases or no training case has an event (or is of some class), or no tree finds
                a split.
        """
        if ctx.task.classes:
            return fit_boosted_classes(self.options, train, val, ctx)
        rows = fitting_rows(train, val, self.name)
        of_all, of_training = (int(s) for s in np.random.SeedSequence(ctx.seed).generate_state(2))
        held_out = self._grown(rows.take(np.arange(len(train))), of_training)
        return GradientBoostingPredictor(self._grown(rows, of_all), held_out)

    def _grown(self, rows: Outcomes, seed: int) -> BoostedTrees:
        """A model of `rows` with their baseline."""
        from sklearn import config_context
        from sksurv.ensemble import GradientBoostingSurvivalAnalysis
        from sksurv.util import Surv

        if not rows.event.any():
            raise DataError(f"{self.name}: none of the {len(rows)} training cases has an observed event")
        options, x = self.options, rows.x.astype(np.float32)
        model = GradientBoostingSurvivalAnalysis(**sklearn_options(options), random_state=seed)
        # Our options are checked already; to check them again for every tree takes a third of the time.
        with config_context(skip_parameter_validation=True):
            model.fit(x, Surv.from_arrays(rows.event, rows.time))
        trees = BoostedTrees.of(model, breslow_baseline(model.predict(x), rows.time, rows.event))
        if not trees.split:
            raise DataError(
                f"{self.name}: no tree splits {len(rows)} cases into leaves of {options.min_leaf}; "
                f"give more cases or a smaller {self.name}[min_leaf=...]"
            )
        return trees

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        if ctx.task.classes:
            return BoostedClassesPredictor.restored(ctx.task.classes, state)
        return GradientBoostingPredictor(*(BoostedTrees(**_part(state, prefix)) for prefix in (_ALL, _TRAINING)))


class GradientBoostingPredictor(Predictor):
    """Log hazard ratio as risk; S(t) = exp(-H(t) exp(risk)) at the event times."""

    def __init__(self, trees: BoostedTrees, held_out: BoostedTrees) -> None:
        """`held_out`: the model that was not fitted on the validation cases."""
        self.trees, self.held_out = trees, held_out

    def predict(self, cases: CaseSet) -> SurvivalPrediction:
        return _said(self.trees, cases)

    def predict_validation(self, val: CaseSet) -> SurvivalPrediction:
        return _said(self.held_out, val)

    def state(self) -> State:
        parts = {_ALL: self.trees, _TRAINING: self.held_out}
        return as_state({prefix + name: a for prefix, trees in parts.items() for name, a in asdict(trees).items()})


def _said(trees: BoostedTrees, cases: CaseSet) -> SurvivalPrediction:
    x = same_columns(cases, int(trees.columns[0]), GradientBoosting.name).astype(np.float32)
    risk = trees.log_risk(x)
    return prediction(cases.ids, risk, curves(trees.hazard, risk), trees.times)


def _part(state: State, prefix: str) -> Mapping[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
