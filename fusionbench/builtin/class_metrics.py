"""Metrics of classes: ranking (AUROC, average precision), decisions (accuracy, F1, kappa) and probabilities.

They are scikit-learn's; added here are the checks of a fold, and ties: scores within 1e-8 are tied, as risks are.
Libraries are imported inside functions: planning only needs the names of the metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fusionbench.core.errors import UndefinedMetric
from fusionbench.core.metric import Metric
from fusionbench.core.types import ClassPrediction, ClassTargets, TaskName

if TYPE_CHECKING:
    from fusionbench.core.types import Floats

Targets = ClassTargets[NDArray[Any]]
CALIBRATION_BINS = 15


class _OfClasses(Metric):
    tasks: ClassVar[tuple[TaskName, ...]] = ("binary", "multiclass")


class Auroc(_OfClasses):
    """Area under the ROC curve: share of pairs of a case with and one without the class that are ordered rightly.

    In [0, 1], higher is better, 0.5 is chance; ties count one half. Of two classes that of the positive one, of more
    the unweighted mean over the classes, each against the others. Source: Hanley and McNeil 1982.
    """

    name = "auroc"

    def __call__(self, prediction: ClassPrediction, test: Targets, train: Targets) -> float:
        from sklearn.metrics import roc_auc_score

        from fusionbench.survival.stats import tied_ranks

        own = zip(_own(prediction, test).T, prediction.scores.T, strict=True)
        return float(np.mean([roc_auc_score(y, tied_ranks(s)) for y, s in own]))


class HandTillM(_OfClasses):
    """Hand and Till's M: the mean over all pairs of classes of their AUROC, whatever the size of the classes.

    In [0, 1], higher is better, 0.5 is chance. Source: Hand and Till 2001.
    """

    name = "hand_till_m"
    tasks: ClassVar[tuple[TaskName, ...]] = ("multiclass",)

    def __call__(self, prediction: ClassPrediction, test: Targets, train: Targets) -> float:
        from sklearn.metrics import roc_auc_score

        _own(prediction, test)
        p = prediction.probability
        return float(roc_auc_score(test.label, p / p.sum(axis=1, keepdims=True), multi_class="ovo", average="macro"))


class Auprc(_OfClasses):
    """Average precision, the area under the precision-recall curve as a step function.

    In [0, 1], higher is better. Chance is the prevalence of the class, not 0.5: values of cohorts with other
    prevalences do not compare. Of two classes that of the positive one, of more the mean over the classes.
    """

    name = "auprc"

    def __call__(self, prediction: ClassPrediction, test: Targets, train: Targets) -> float:
        from sklearn.metrics import average_precision_score

        from fusionbench.survival.stats import tied_ranks

        own = zip(_own(prediction, test).T, prediction.scores.T, strict=True)
        return float(np.mean([average_precision_score(y, tied_ranks(s)) for y, s in own]))


class BalancedAccuracy(_OfClasses):
    """Mean over the classes of the share of their cases whose most probable class is the right one.

    In [0, 1], higher is better; chance is 1 / number of classes.
    """

    name = "balanced_accuracy"

    def __call__(self, prediction: ClassPrediction, test: Targets, train: Targets) -> float:
        from sklearn.metrics import balanced_accuracy_score

        _own(prediction, test)
        return float(balanced_accuracy_score(test.label, prediction.probability.argmax(axis=1)))


class F1Macro(_OfClasses):
    """Mean over the classes of F1, the harmonic mean of precision and recall of the most probable class.

    In [0, 1], higher is better.
    """

    name = "f1_macro"

    def __call__(self, prediction: ClassPrediction, test: Targets, train: Targets) -> float:
        from sklearn.metrics import f1_score

        _own(prediction, test)
        labels = list(range(len(prediction.classes)))
        decided = prediction.probability.argmax(axis=1)
        return float(f1_score(test.label, decided, labels=labels, average="macro", zero_division=0.0))


class Brier(_OfClasses):
    """Mean squared error of the probabilities; lower is better.

    Of two classes (p - y)^2 of the positive one, in [0, 1]; of more the sum over the classes, in [0, 2].
    Source: Brier 1950.
    """

    name = "brier"
    higher_is_better: ClassVar[bool | None] = False
    range: ClassVar[tuple[float, float]] = (0.0, 2.0)

    def __call__(self, prediction: ClassPrediction, test: Targets, train: Targets) -> float:
        truth = np.eye(len(prediction.classes))[_label(prediction, test)]
        squares = (prediction.probability - truth) ** 2
        return float((squares[:, 1] if len(prediction.classes) == 2 else squares.sum(axis=1)).mean())


class LogLoss(_OfClasses):
    """Mean of minus the logarithm of the probability of the right class; lower is better.

    A probability below 2e-16 counts as 2e-16, as in scikit-learn.
    """

    name = "log_loss"
    higher_is_better: ClassVar[bool | None] = False
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def __call__(self, prediction: ClassPrediction, test: Targets, train: Targets) -> float:
        from sklearn.metrics import log_loss

        label, p = _label(prediction, test), prediction.probability
        return float(log_loss(label, p / p.sum(axis=1, keepdims=True), labels=list(range(len(prediction.classes)))))


class Ece(_OfClasses):
    """Expected calibration error: mean distance of the top probability from the share of right decisions.

    Over 15 bins of equal width of the most probable class's probability, weighted by their cases. It has no direction
    among ties and is never ranked: a model that says the prevalence of all cases has a value near 0.
    Source: Guo et al. 2017.
    """

    name = "ece"
    higher_is_better: ClassVar[bool | None] = None

    def __call__(self, prediction: ClassPrediction, test: Targets, train: Targets) -> float:
        label = _label(prediction, test)
        top = prediction.probability.max(axis=1)
        right = prediction.probability.argmax(axis=1) == label
        bins = np.minimum((top * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
        gaps = np.bincount(bins, weights=top - right, minlength=CALIBRATION_BINS)
        return float(np.abs(gaps).sum() / len(label))


class CohenKappa(_OfClasses):
    """Cohen's kappa with quadratic weights, for classes with an order: agreement beyond chance of the decided classes.

    In [-1, 1], higher is better, 0 is chance. Of two classes the weights play no part. Source: Cohen 1968.
    """

    name = "cohen_kappa"
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __call__(self, prediction: ClassPrediction, test: Targets, train: Targets) -> float:
        from sklearn.metrics import cohen_kappa_score

        _own(prediction, test)
        decided, labels = prediction.probability.argmax(axis=1), list(range(len(prediction.classes)))
        return float(cohen_kappa_score(test.label, decided, labels=labels, weights="quadratic"))


CLASS_METRICS: list[type[Metric]] = [
    Auroc,
    HandTillM,
    Auprc,
    BalancedAccuracy,
    F1Macro,
    Brier,
    LogLoss,
    Ece,
    CohenKappa,
]


def _label(prediction: ClassPrediction, test: Targets) -> NDArray[np.int64]:
    """(case,) positions of the classes.

    Raises:
        UndefinedMetric: there is no test case.
    """
    if not len(test.label):
        raise UndefinedMetric("there is no test case")
    return np.asarray(test.label, dtype=np.int64)


def _own(prediction: ClassPrediction, test: Targets) -> Floats:
    """(case, score) 1 where the case is of the score's class, else 0; of two classes the second's alone.

    Raises:
        UndefinedMetric: a class has no test case.
    """
    label, n = _label(prediction, test), len(prediction.classes)
    absent = np.flatnonzero(np.bincount(label, minlength=n) == 0)
    if absent.size:
        raise UndefinedMetric(f"no test case is of class {prediction.classes[absent[0]]!r}")
    own = np.eye(n)[label]
    return own[:, 1:] if n == 2 else own
