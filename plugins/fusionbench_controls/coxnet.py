"""Cox regression along a path of elastic-net penalties, and the penalty that inner folds choose."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from fusionbench import DataError
from fusionbench_controls.features import Floats, Ints, Outcomes


@dataclass(frozen=True)
class Path:
    """Cox models from the strongest penalty to the weakest.

    Attributes:
        penalty: (penalty,) descending; per case, on columns of unit standard deviation.
        coef: (penalty, column) log hazard ratios per unit of the unscaled columns.
        offset: (penalty,) taken off, so that the linear predictor is 0 at the mean of the fitted rows.
        dropped: how many of the weakest penalties were given up because the solver did not converge.
    """

    penalty: Floats
    coef: Floats
    offset: Floats
    dropped: int

    def log_risk(self, x: Floats) -> Floats:
        """(case, column) -> (case, penalty); higher = earlier event."""
        return np.asarray(x @ self.coef.T - self.offset)


@dataclass(frozen=True)
class Choice:
    """What inner folds say of a path.

    Attributes:
        index: the chosen penalty's place on the path.
        score: (penalty,) cross-validated log partial likelihood per event; higher = better.
        folds: per inner fold the path fitted on the rows outside it.
    """

    index: int
    score: Floats
    folds: tuple[Path, ...]


def penalty_path(rows: Outcomes, l1_ratio: float, n_penalties: int) -> Floats:
    """(penalty,) descending: from the smallest one that empties the model, evenly in logarithms.

    It ends at 0.01 times its start where there are at least as many columns as cases, at 0.0001 times it otherwise.

    Raises:
        DataError: if no column has any slope, so that there is nothing to fit.

    Source: Friedman, Hastie and Tibshirani 2010 (glmnet), section 2.5.
    """
    x, _, _ = _standardised(rows.x)
    slope = np.abs(_martingale_residuals(rows) @ x).max(initial=0.0) / len(rows)
    if slope < 1e-12:
        raise DataError(f"cox: none of the {x.shape[1]} columns varies with the hazard of the {len(rows)} fitted cases")
    end = 0.01 if x.shape[1] >= len(rows) else 0.0001
    return np.asarray(np.geomspace(1.0, end, n_penalties) * slope / l1_ratio)


def fit_path(rows: Outcomes, l1_ratio: float, penalties: Floats) -> Path:
    """Fit all `penalties`, each from the one before, on columns of unit standard deviation over `rows`.

    A constant column gets coefficient 0. The solver ends a path early where the model is saturated. Where it does not
    converge, the weaker half is given up and the rest fitted again: it does not say how far it came.

    Raises:
        DataError: if not even the strongest penalty converges.

    Source: Simon et al. 2011 (Coxnet), with Breslow's treatment of ties.
    """
    x, mean, scale = _standardised(rows.x)
    keep = len(penalties)
    while keep:
        solved = _solve(x, rows, l1_ratio, penalties[:keep])
        if solved is not None:
            reached, coef = solved
            coef = coef / scale
            return Path(reached, coef, coef @ mean, dropped=len(penalties) - keep)
        keep //= 2
    raise DataError(
        f"cox: no penalty from {penalties[0]:.3g} down converges on {len(rows)} cases x {x.shape[1]} columns"
    )


def choose_penalty(rows: Outcomes, path: Path, l1_ratio: float, fold: Ints) -> Choice:
    """The penalty of `path` with the largest cross-validated partial likelihood.

    The empty model is no candidate: it ranks nobody, and a control that ranks nobody controls nothing.

    Args:
        fold: (case,) inner fold of each row, 0, 1, ...

    Raises:
        DataError: if every penalty that all folds reach leaves the model empty.

    Source: Verweij and van Houwelingen 1993.
    """
    folds = tuple(fit_path(rows.take(fold != k), l1_ratio, path.penalty) for k in range(fold.max() + 1))
    reached = min(len(p.penalty) for p in (path, *folds))
    score = np.zeros(reached)
    for k, fitted in enumerate(folds):
        log_risk, inside = fitted.log_risk(rows.x)[:, :reached], fold != k
        everyone = log_partial_likelihood(log_risk, rows)
        score += everyone - log_partial_likelihood(log_risk[inside], rows.take(inside))
    filled = (path.coef[:reached] != 0).any(axis=1)
    if not filled.any():
        raise DataError(f"cox: the {reached} penalties that converge on every inner fold leave no column in the model")
    index = int(np.argmax(np.where(filled, score, -np.inf)))
    return Choice(index, score / rows.event.sum(), folds)


def log_partial_likelihood(log_risk: Floats, rows: Outcomes) -> Floats:
    """(case, penalty) -> (penalty,) log partial likelihood; the risk set of t_i is all t_j >= t_i.

    Source: Cox 1972, with Breslow's treatment of ties.
    """
    latest_first = np.argsort(-rows.time, kind="stable")
    log_risk, time, event = log_risk[latest_first], rows.time[latest_first], rows.event[latest_first]
    pool = np.logaddexp.accumulate(log_risk, axis=0)
    last_tied = np.searchsorted(-time, -time, side="right") - 1
    return np.asarray((log_risk - pool[last_tied])[event].sum(axis=0))


def inner_folds(rows: Outcomes, n_folds: int, rng: np.random.Generator) -> Ints:
    """(case,) fold of each row; groups stay together, those with an event are spread evenly, and so are the others.

    There are fewer folds where fewer groups have an event, so that no fold is fitted without one.
    """
    groups = np.arange(rows.group.max() + 1)
    eventful = np.isin(groups, rows.group[rows.event])
    n_folds = min(n_folds, int(eventful.sum()))
    fold_of = np.empty(len(groups), dtype=np.int64)
    order = np.concatenate([rng.permutation(groups[eventful]), rng.permutation(groups[~eventful])])
    fold_of[order] = np.arange(len(groups)) % n_folds
    return fold_of[rows.group]


def _standardised(x: Floats) -> tuple[Floats, Floats, Floats]:
    """x with mean 0 and sd 1 per column (constant columns: 0), the means and the sds (constant columns: 1)."""
    mean, sd = x.mean(axis=0), x.std(axis=0)
    varies = sd > 1e-8 * (1 + np.abs(mean))
    scale = np.where(varies, sd, 1.0)
    return np.where(varies, (x - mean) / scale, 0.0), mean, scale


def _martingale_residuals(rows: Outcomes) -> Floats:
    """(case,) event minus cumulative hazard of the model without columns: the slope of the partial likelihood there."""
    times, deaths = np.unique(rows.time[rows.event], return_counts=True)
    at_risk = len(rows) - np.searchsorted(np.sort(rows.time), times, side="left")
    hazard = np.concatenate([[0.0], np.cumsum(deaths / at_risk)])
    return np.asarray(rows.event - hazard[np.searchsorted(times, rows.time, side="right")])


def _solve(x: Floats, rows: Outcomes, l1_ratio: float, penalties: Floats) -> tuple[Floats, Floats] | None:
    """The penalties reached and (penalty, column) coefficients; None where the solver did not converge."""
    from sklearn.exceptions import ConvergenceWarning
    from sksurv.linear_model import CoxnetSurvivalAnalysis
    from sksurv.util import Surv

    solver = CoxnetSurvivalAnalysis(l1_ratio=l1_ratio, alphas=penalties)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        # At a path's strong end this is no problem; `choose_penalty` looks at the coefficients itself.
        warnings.filterwarnings("ignore", message="all coefficients are zero")
        try:
            solver.fit(x, Surv.from_arrays(rows.event, rows.time))
        except (ConvergenceWarning, ArithmeticError, AssertionError):  # the solver asserts finite coefficients
            return None
    return solver.alphas_, solver.coef_.T
