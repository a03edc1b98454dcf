"""Metrics of classes against scikit-learn's or their formulas, where they are undefined, and ties."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs

from fusionbench.builtin.class_metrics import CLASS_METRICS, Auprc, Auroc, Brier, Ece, HandTillM
from fusionbench.core.endpoints import ClassPrediction, ClassTargets
from fusionbench.core.errors import UndefinedMetric
from fusionbench.core.metric import Metric
from fusionbench.survival.stats import harrell_c
from fusionbench.tasks.ranking import class_pairs, mean_concordance

N = 60


def drawn(n_classes: int, seed: int = 0) -> tuple[ClassPrediction, ClassTargets[np.ndarray]]:
    rng = np.random.default_rng(seed)
    label = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=N - n_classes)])
    raw = rng.random((N, n_classes)) + 0.3 * np.eye(n_classes)[label]
    names = tuple("abcd"[:n_classes])
    ids = tuple(f"case-{i}" for i in range(N))
    return ClassPrediction(ids, names, raw / raw.sum(axis=1, keepdims=True)), ClassTargets(label)


def score(metric: type[Metric], n_classes: int) -> float:
    prediction, targets = drawn(n_classes)
    return metric()(prediction, targets, targets)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_they_are_scikit_learn_s(n_classes: int) -> None:
    prediction, targets = drawn(n_classes)
    p, y = prediction.probability, targets.label
    decided, own = p.argmax(axis=1), np.eye(n_classes)[y]
    expected = {
        "auroc": theirs.roc_auc_score(y, p[:, 1]) if n_classes == 2 else theirs.roc_auc_score(y, p, multi_class="ovr"),
        "hand_till_m": theirs.roc_auc_score(y, p, multi_class="ovo") if n_classes > 2 else np.nan,
        "auprc": theirs.average_precision_score(own[:, 1], p[:, 1])
        if n_classes == 2
        else theirs.average_precision_score(own, p),
        "balanced_accuracy": theirs.balanced_accuracy_score(y, decided),
        "f1_macro": theirs.f1_score(y, decided, average="macro"),
        "brier": theirs.brier_score_loss(y, p[:, 1]) if n_classes == 2 else ((p - own) ** 2).sum(axis=1).mean(),
        "log_loss": theirs.log_loss(y, p),
        "cohen_kappa": theirs.cohen_kappa_score(y, decided, weights="quadratic"),
    }
    for metric in CLASS_METRICS:
        if metric is not Ece and not (metric is HandTillM and n_classes == 2):
            assert score(metric, n_classes) == pytest.approx(expected[metric.name], abs=1e-12), metric.name


@pytest.mark.parametrize("n_classes", [2, 3])
def test_auroc_is_the_share_of_pairs_that_intervals_are_made_from(n_classes: int) -> None:
    prediction, targets = drawn(n_classes)
    pairs = class_pairs(targets.label, n_classes)
    assert score(Auroc, n_classes) == pytest.approx(mean_concordance(pairs, prediction.scores), abs=1e-12)


def test_auroc_of_two_classes_is_a_c_index_of_who_has_the_class_first() -> None:
    prediction, targets = drawn(2)
    c = harrell_c(1.0 - targets.label, targets.label == 1, prediction.scores[:, 0])
    assert score(Auroc, 2) == pytest.approx(c, abs=1e-12)


def test_scores_within_the_tolerance_are_tied() -> None:
    p = np.array([0.5, 0.5 + 1e-10, 0.5, 0.5 - 1e-10])
    prediction = ClassPrediction(tuple("abcd"), ("no", "yes"), np.stack([1 - p, p], axis=1))
    targets = ClassTargets(np.array([0, 1, 0, 1]))
    assert Auroc()(prediction, targets, targets) == 0.5
    assert Auprc()(prediction, targets, targets) == 0.5  # the prevalence


def test_which_class_is_positive_does_not_change_the_auroc_and_does_change_the_auprc() -> None:
    prediction, targets = drawn(2)
    flipped = ClassPrediction(prediction.ids, ("b", "a"), prediction.probability[:, ::-1])
    other = ClassTargets(1 - targets.label)
    assert Auroc()(flipped, other, other) == pytest.approx(score(Auroc, 2), abs=1e-12)
    assert Auprc()(flipped, other, other) != pytest.approx(score(Auprc, 2), abs=1e-3)


def test_a_class_without_a_test_case_leaves_rankings_and_decisions_undefined() -> None:
    prediction, targets = drawn(3)
    two = ClassTargets(np.minimum(targets.label, 1))
    for metric in CLASS_METRICS:
        if metric.name in ("brier", "log_loss", "ece"):
            assert np.isfinite(metric()(prediction, two, two))
        else:
            with pytest.raises(UndefinedMetric, match="no test case is of class 'c'"):
                metric()(prediction, two, two)


def test_no_test_case_is_undefined_throughout() -> None:
    nobody = ClassPrediction((), ("no", "yes"), np.zeros((0, 2)))
    none = ClassTargets(np.zeros(0, dtype=np.int64))
    for metric in CLASS_METRICS:
        with pytest.raises(UndefinedMetric):
            metric()(nobody, none, none)


def test_calibration_error_is_zero_where_confidence_is_accuracy() -> None:
    p = np.repeat([[0.25, 0.75]], 40, axis=0)
    label = np.array([1, 1, 1, 0] * 10)
    prediction = ClassPrediction(tuple(map(str, range(40))), ("no", "yes"), p)
    assert Ece()(prediction, ClassTargets(label), ClassTargets(label)) == pytest.approx(0.0, abs=1e-12)
    sure = ClassPrediction(prediction.ids, ("no", "yes"), np.repeat([[0.0, 1.0]], 40, axis=0))
    assert Ece()(sure, ClassTargets(label), ClassTargets(label)) == pytest.approx(0.25)
    assert Brier()(sure, ClassTargets(label), ClassTargets(label)) == pytest.approx(0.25)
    assert Ece.higher_is_better is None
