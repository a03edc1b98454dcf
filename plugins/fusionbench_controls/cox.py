"""Penalised Cox regression on concatenated vectors, the penalty chosen by inner folds."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fusionbench import (
    CaseSet,
    FitContext,
    FusionModel,
    Interval,
    Options,
    Predictor,
    RestoreContext,
    SearchSpace,
    State,
    SurvivalPrediction,
)
from fusionbench.survival import breslow_baseline
from fusionbench_controls.coxnet import Path, choose_penalty, fit_path, inner_folds, penalty_path
from fusionbench_controls.features import (
    Floats,
    Ints,
    Outcomes,
    as_state,
    encode_ids,
    fitting_rows,
    positions,
    same_columns,
)
from fusionbench_controls.hazards import curves, prediction


class CoxOptions(Options):
    """How the penalty is shaped and chosen.

    Attributes:
        l1_ratio: share of the L1 part in the elastic net, which Simon et al. 2011 leave to the user. 0.01 is nearly
            ridge; of 0.5, 0.1, 0.01 and 0.001 it was first or second by nested c-index inside one training part each of
            TCGA BLCA, BRCA, KIRP, UCEC (omics) and HANCOCK (tables).
        penalties: points on the path; glmnet has 100, at three times the cost.
        inner_folds: of training and validation cases together, stratified by event; as many as outer folds.
    """

    l1_ratio: float = Field(0.01, gt=0, le=1)
    penalties: int = Field(30, ge=2)
    inner_folds: int = Field(5, ge=2)


class Cox(FusionModel):
    """Cox regression with elastic net on the columns of all modalities; bags are averaged over their instances.

    The penalty is chosen by the cross-validated partial likelihood of inner folds over training and validation cases,
    which the final model is then fitted on. Risk is the linear predictor, S has Breslow's baseline.

    Source: Simon et al. 2011.
    """

    name = "cox"
    version = "1"
    Options = CoxOptions
    missing = "impute"
    options: CoxOptions

    def search_space(self) -> SearchSpace:
        """Its penalty it chooses itself, on folds of its own."""
        return {"l1_ratio": Interval(0.01, 1.0, log=True)}

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        """Fit on training and validation cases together; logs the score of each penalty (step = place on the path).

        Raises:
            DataError: if fewer than two cases have an event, no column says anything, or no penalty converges.
        """
        rows, options = fitting_rows(train, val, self.name), self.options
        path = fit_path(rows, options.l1_ratio, penalty_path(rows, options.l1_ratio, options.penalties))
        fold = inner_folds(rows, options.inner_folds, np.random.default_rng(ctx.seed))
        choice = choose_penalty(rows, path, options.l1_ratio, fold)
        for step, score in enumerate(choice.score):
            ctx.log(step, {"penalty": float(path.penalty[step]), "log_partial_likelihood_per_event": float(score)})
        dropped = path.dropped + sum(p.dropped for p in choice.folds)
        ctx.log(choice.index, {"chosen_penalty": float(path.penalty[choice.index]), "penalties_unconverged": dropped})
        models = _with_baselines(rows, fold, (path, *choice.folds), choice.index)
        return CoxPredictor(models, encode_ids(val.ids), fold[len(train) :])

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        models = CoxModels(state["coef"], state["offset"], state["times"], state["hazard"])
        return CoxPredictor(models, state["val_ids"], state["val_fold"])


@dataclass(frozen=True)
class CoxModels:
    """The final model (0) and that of each inner fold (1, 2, ...), fitted on the rows outside the fold.

    Attributes:
        coef: (model, column) log hazard ratios.
        offset: (model,) taken off the linear predictor.
        times: (time,) event times of the final model, months.
        hazard: (model, time) cumulative baseline hazard at `times`.
    """

    coef: Floats
    offset: Floats
    times: Floats
    hazard: Floats


def _with_baselines(rows: Outcomes, fold: Ints, paths: tuple[Path, ...], index: int) -> CoxModels:
    coef, offset = np.stack([p.coef[index] for p in paths]), np.array([p.offset[index] for p in paths])
    times = np.unique(rows.time[rows.event])
    hazard = np.empty((len(paths), len(times)))
    for model, path in enumerate(paths):
        used = rows if model == 0 else rows.take(fold != model - 1)
        own_times, own = breslow_baseline(path.log_risk(used.x)[:, index], used.time, used.event)
        hazard[model] = np.concatenate([[0.0], own])[np.searchsorted(own_times, times, side="right")]
    return CoxModels(coef, offset, times, hazard)


class CoxPredictor(Predictor):
    """Linear predictor as risk; S(t) = exp(-H(t) exp(risk)) at the event times."""

    def __init__(self, models: CoxModels, val_ids: NDArray[np.uint8], val_fold: Ints) -> None:
        """`val_fold`: (validation case,) inner fold of the cases in `val_ids` (see `encode_ids`)."""
        self.models, self.val_ids, self.val_fold = models, val_ids, val_fold

    def predict(self, cases: CaseSet) -> SurvivalPrediction:
        return self._predict(cases, np.zeros(len(cases), dtype=np.int64))

    def predict_validation(self, val: CaseSet) -> SurvivalPrediction:
        """Each case by the model of its inner fold, which was not fitted on it, at the chosen penalty."""
        return self._predict(val, 1 + self.val_fold[positions(self.val_ids, val.ids, "cox")])

    def _predict(self, cases: CaseSet, model: Ints) -> SurvivalPrediction:
        models = self.models
        x = same_columns(cases, models.coef.shape[1], "cox")
        # A sum per row, unlike a matrix product, does not depend on the other rows.
        risk = (x * models.coef[model]).sum(axis=1) - models.offset[model]
        return prediction(cases.ids, risk, curves(models.hazard[model], risk), models.times)

    def state(self) -> State:
        return as_state({**asdict(self.models), "val_ids": self.val_ids, "val_fold": self.val_fold})
