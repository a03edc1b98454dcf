"""Penalised logistic regression on concatenated vectors, the penalty chosen by inner folds."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fusionbench import (
    CaseSet,
    ClassPrediction,
    DataError,
    FitContext,
    FusionModel,
    Interval,
    Options,
    Predictor,
    RestoreContext,
    SearchSpace,
    State,
)
from fusionbench_controls.features import (
    Floats,
    Ints,
    Labelled,
    as_state,
    class_folds,
    encode_ids,
    labelled_rows,
    positions,
    same_columns,
    sklearn_seed,
)


class LogisticOptions(Options):
    """How the penalty is shaped and chosen.

    Attributes:
        l1_ratio: share of the L1 part in the elastic net; 0 is ridge.
        penalties: inverse strengths tried, evenly in logarithms from 1e-4 to 1e2.
        inner_folds: of training and validation cases together, stratified by class; as many as outer folds.
    """

    l1_ratio: float = Field(0.0, ge=0, le=1)
    penalties: int = Field(10, ge=2)
    inner_folds: int = Field(5, ge=2)


class Logistic(FusionModel):
    """Logistic regression on all columns of all modalities, bags averaged over their instances; multinomial.

    The penalty is chosen by the log loss of inner folds over training and validation cases, which the final model is
    then fitted on. Columns are brought to a standard deviation of 1 on the fitted rows.

    Source: Friedman, Hastie and Tibshirani 2010 for the penalty, by scikit-learn's solvers.
    """

    name = "logistic"
    version = "1"
    Options = LogisticOptions
    missing = "impute"
    tasks: ClassVar[tuple[str, ...]] = ("binary", "multiclass")
    options: LogisticOptions

    def search_space(self) -> SearchSpace:
        """Its penalty it chooses itself, on folds of its own."""
        return {"l1_ratio": Interval(0.0, 1.0)}

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        """Fit on training and validation cases together; logs the log loss of each penalty (step = its place).

        Raises:
            DataError: if a class has fewer than two patients, or no penalty converges.
        """
        classes = ctx.task.classes
        rows = labelled_rows(train, val, len(classes), self.name)
        fold = class_folds(rows, self.options.inner_folds, sklearn_seed(ctx.seed))
        strengths = np.logspace(-4, 2, self.options.penalties)
        inner = [rows.take(fold != k) for k in range(fold.max() + 1)]
        tried = [self._tried(rows, fold, inner, c, ctx.seed) for c in strengths]
        losses = np.array([np.inf if models is None else _loss(models, rows, fold) for models in tried])
        if not np.isfinite(losses).any():
            raise DataError(f"{self.name}: no penalty converges on {len(rows)} cases")
        best = int(losses.argmin())  # of equals the stronger penalty
        for step, (strength, loss) in enumerate(zip(strengths, losses, strict=True)):
            ctx.log(step, {"inverse_penalty": float(strength)} | ({"log_loss": float(loss)} if loss < np.inf else {}))
        ctx.log(best, {"chosen_inverse_penalty": float(strengths[best])})
        final = self._fitted(rows, strengths[best], ctx.seed)
        if final is None:
            raise DataError(f"{self.name}: the chosen penalty does not converge on {len(rows)} cases")
        models = LinearModels.joined([final, *(tried[best] or [])])
        return LogisticPredictor(classes, models, encode_ids(val.ids), fold[len(train) :])

    def _tried(
        self, rows: Labelled, fold: Ints, inner: Sequence[Labelled], strength: float, seed: int
    ) -> list[LinearModels] | None:
        """One model an inner fold; None where one of them does not converge."""
        made = [self._fitted(of, strength, seed) for of in inner]
        return None if any(model is None for model in made) else [model for model in made if model is not None]

    def _fitted(self, rows: Labelled, strength: float, seed: int) -> LinearModels | None:
        """A model of the rows; None where the solver does not converge."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        ridge = self.options.l1_ratio == 0
        mean, sd = rows.x.mean(axis=0), rows.x.std(axis=0)
        sd = np.where(sd > 1e-8 * (1 + np.abs(mean)), sd, np.inf)  # a constant column has no slope
        model = LogisticRegression(
            C=float(strength),
            l1_ratio=self.options.l1_ratio,
            solver="lbfgs" if ridge else "saga",
            max_iter=2000,
            tol=1e-5 if ridge else 1e-3,
            random_state=sklearn_seed(seed),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                model.fit((rows.x - mean) / sd, rows.label)
            except ConvergenceWarning:
                return None
        coef, intercept = model.coef_ / sd, model.intercept_
        if len(coef) == 1:  # of two classes scikit-learn gives the logit of the second
            coef, intercept = np.concatenate([0 * coef, coef]), np.concatenate([[0.0], intercept])
        return LinearModels(coef[None], (intercept - coef @ mean)[None])

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        models = LinearModels(state["coef"], state["intercept"])
        return LogisticPredictor(ctx.task.classes, models, state["val_ids"], state["val_fold"])


@dataclass(frozen=True)
class LinearModels:
    """The final model (0) and that of each inner fold (1, 2, ...), fitted on the rows outside the fold.

    Attributes:
        coef: (model, class, column).
        intercept: (model, class).
    """

    coef: Floats
    intercept: Floats

    @classmethod
    def joined(cls, models: Sequence[LinearModels]) -> LinearModels:
        """Several as one, row by row in memory: in which order numpy sums depends on it."""
        parts = (np.concatenate([getattr(m, name) for m in models]) for name in ("coef", "intercept"))
        return cls(*map(np.ascontiguousarray, parts))

    def probability(self, x: Floats, model: Ints) -> Floats:
        """(case, class) by the `model` of each case."""
        # A sum per row, unlike a matrix product, does not depend on the other rows.
        logits = (x[:, None, :] * self.coef[model]).sum(axis=2) + self.intercept[model]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def _loss(models: Sequence[LinearModels], rows: Labelled, fold: Ints) -> float:
    """Mean log loss of the rows, each by the model of its inner fold."""
    probability = LinearModels.joined(models).probability(rows.x, fold)
    own = probability[np.arange(len(rows)), rows.label]
    return float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean())


class LogisticPredictor(Predictor):
    """Class probabilities of the linear predictors."""

    def __init__(
        self, classes: tuple[str, ...], models: LinearModels, val_ids: NDArray[np.uint8], val_fold: Ints
    ) -> None:
        """`val_fold`: (validation case,) inner fold of the cases in `val_ids` (see `encode_ids`)."""
        self.classes, self.models, self.val_ids, self.val_fold = classes, models, val_ids, val_fold

    def predict(self, cases: CaseSet) -> ClassPrediction:
        return self._predict(cases, np.zeros(len(cases), dtype=np.int64))

    def predict_validation(self, val: CaseSet) -> ClassPrediction:
        """Each case by the model of its inner fold, which was not fitted on it, at the chosen penalty."""
        return self._predict(val, 1 + self.val_fold[positions(self.val_ids, val.ids, Logistic.name)])

    def _predict(self, cases: CaseSet, model: Ints) -> ClassPrediction:
        x = same_columns(cases, self.models.coef.shape[2], Logistic.name)
        return ClassPrediction(cases.ids, self.classes, self.models.probability(x, model))

    def state(self) -> State:
        return as_state({**asdict(self.models), "val_ids": self.val_ids, "val_fold": self.val_fold})
