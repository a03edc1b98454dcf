"""Intervals and comparisons of classes: against DeLong's variance, against a plain loop, and on a true null."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fusionbench.report.bootstrap import bootstrap
from fusionbench.report.predictions import FoldPredictions, FollowUp, RowPattern
from fusionbench.survival.stats import resample
from fusionbench.survival.stats.bootstrap import ScoredFold
from fusionbench.tasks.ranking import class_pairs
from tests.calibration import classes
from tests.calibration.scale import QUICK

LINES: list[RowPattern] = [(("toy", name, "a", "base"), "full") for name in "xy"]


def delong(label: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(model,) AUROC and (model, model) its covariance, from the cases' placement values (DeLong et al. 1988)."""
    with_, without = scores[:, label == 1], scores[:, label == 0]
    right = (with_[:, :, None] > without[:, None, :]) + 0.5 * (with_[:, :, None] == without[:, None, :])
    of_with, of_without = right.mean(axis=2), right.mean(axis=1)
    return right.mean(axis=(1, 2)), np.cov(of_with) / with_.shape[1] + np.cov(of_without) / without.shape[1]


def test_the_bootstrap_of_one_test_set_has_delong_s_variance() -> None:
    population = classes.Population(classes.shift_for(0.3, 200_000))
    sample = population.draw(600, np.random.default_rng(0))
    parts = [
        FoldPredictions(line, (0, 0), np.arange(600), score[None, None])
        for line, score in zip(LINES, sample.scores, strict=True)
    ]
    made = bootstrap(parts, classes.cohort_of(sample.label), seed=0, draws=4000)
    auroc, covariance = delong(sample.label, sample.scores)
    assert [made.values[line][0, 0] for line in LINES] == pytest.approx(auroc, abs=1e-12)
    draws = np.array([made.draws[line] for line in LINES])
    np.testing.assert_allclose(np.cov(draws), covariance, rtol=0.1, atol=1e-5)
    gap = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert np.var(draws[0] - draws[1], ddof=1) == pytest.approx(gap, rel=0.1)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_draws_are_what_scikit_learn_says_of_the_drawn_cases(n_classes: int) -> None:
    rng = np.random.default_rng(1)
    n, names = 60, tuple("abc"[:n_classes])
    label = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=n - n_classes)])
    scores = rng.normal(size=(1 if n_classes == 2 else n_classes, n))
    cohort = replace(classes.cohort_of(label), classes=names)
    part = FoldPredictions(LINES[0], (0, 0), np.arange(n), scores[:, None])
    made = bootstrap([part], cohort, seed=0, draws=40).draws[LINES[0]]
    folds = [ScoredFold(np.arange(n), pairs) for pairs in class_pairs(label, n_classes)]
    weights = _weights_of(cohort, folds)
    ours = [1] if n_classes == 2 else range(n_classes)
    for draw, weight in zip(made, weights, strict=True):
        drawn = np.repeat(np.arange(n), weight.astype(int))
        expected = [roc_auc_score(label[drawn] == k, scores[i, drawn]) for i, k in enumerate(ours)]
        assert draw == pytest.approx(np.mean(expected), abs=1e-12)


def _weights_of(cohort: FollowUp, folds: list[ScoredFold]) -> np.ndarray:
    """The draws that the table makes of this cohort."""
    from fusionbench.core.seeds import derive

    strata = np.zeros(len(cohort.cases), dtype=np.int64)
    return resample(strata, folds, seed=derive(0, "bootstrap", cohort.identity), draws=40).weights


@pytest.mark.slow
def test_the_null_of_classes_in_small() -> None:
    """Two equal models differ by chance in 5 % of samples, and the interval of one covers its true AUROC in 95 %."""
    figures = classes.null(QUICK)
    assert [f.row() for f in figures if f.verdict == "MISS"] == []
    assert len([f for f in figures if f.verdict == "pass"]) == 5
