"""Checks of a metric."""

from __future__ import annotations

import copy
import math
import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusionbench.core.errors import UndefinedMetric
from fusionbench.core.metric import Metric
from fusionbench.core.registry import Registry
from fusionbench.core.types import ClassPrediction, ClassTargets, SurvivalPrediction, SurvivalTargets, Targets
from fusionbench.execution.evaluate import time_grid
from fusionbench.tasks import kind_of
from fusionbench.testing.conformance.check import Check, Checklist, Failure, Promise, Skipped, checks_of, raised
from fusionbench.testing.conformance.declarations import declarations

N, TAU = 80, 48.0
TIMES = np.array([6.0, 12.0, 24.0, 36.0, 48.0])
ROUNDING = 1e-9


class MetricSubject(ABC):
    """A registered metric, and 80 cases that it is asked about.

    Attributes:
        cls: the metric.
    """

    def __init__(self, cls: type[Metric]) -> None:
        self.cls = cls

    @property
    @abstractmethod
    def targets(self) -> Targets[NDArray[Any]]:
        """What to score against."""

    @property
    @abstractmethod
    def predictions(self) -> Mapping[str, Any]:
        """Better and worse predictions, by what they are."""

    @abstractmethod
    def degenerate(self) -> Iterator[tuple[str, Targets[NDArray[Any]], Targets[NDArray[Any]]]]:
        """Test and training targets on which nothing may be defined, by what they are."""

    def ask(self, prediction: Any, test: Any = None, train: Any = None) -> float:
        """As the harness asks: up to tau where the metric says so."""
        test = self.targets if test is None else test
        if self.cls.horizon == "tau":
            kind = kind_of(prediction)
            prediction, test = kind.on_grid(prediction, time_grid(TAU)), kind.to_horizon(test, TAU)
        given = (prediction, test, self.targets if train is None else train)
        return float(self.cls()(*copy.deepcopy(given)))

    def score(self, prediction: Any) -> float | None:
        """None where it is undefined with a reason."""
        try:
            return self.ask(prediction)
        except UndefinedMetric as undefined:
            _check_reason(undefined, f"on {N} cases")
            return None


class OfClasses(MetricSubject):
    """A metric of classes: three of them, or two where it takes no more."""

    @cached_property
    def targets(self) -> ClassTargets[NDArray[Any]]:
        """Every class has cases."""
        return ClassTargets(np.random.default_rng(3).permutation(np.arange(N) % len(self._names)))

    @cached_property
    def predictions(self) -> Mapping[str, ClassPrediction]:
        """Better and worse predictions, by what they are."""
        k = len(self._names)
        truth, rng = np.eye(k)[self.targets.label], np.random.default_rng(4)
        wrong = np.eye(k)[(self.targets.label + 1) % k]
        drawn = rng.random((N, k))
        return {
            "a perfect prediction": self._said(0.9 * truth + 0.1 / k),
            "a perfectly wrong prediction": self._said(0.9 * wrong + 0.1 / k),
            "random probabilities": self._said(drawn / drawn.sum(axis=1, keepdims=True)),
            "equal probabilities": self._said(np.full((N, k), 1 / k)),
        }

    @property
    def _names(self) -> tuple[str, ...]:
        return ("a", "b", "c") if "multiclass" in self.cls.tasks else ("a", "b")

    def _said(self, probability: NDArray[np.float64]) -> ClassPrediction:
        return ClassPrediction(tuple(f"case-{i:02d}" for i in range(N)), self._names, probability)

    def degenerate(self) -> Iterator[tuple[str, Targets[NDArray[Any]], Targets[NDArray[Any]]]]:
        some = self.targets
        yield "with one class among the test cases", ClassTargets(np.zeros(N, dtype=np.int64)), some
        yield "with one test case", ClassTargets(some.label[:1]), some


class OfSurvival(MetricSubject):
    """A metric of survival: a third of the cases are censored."""

    def __init__(self, cls: type[Metric]) -> None:
        super().__init__(cls)
        rng = np.random.default_rng(3)
        self.death = 24 * rng.standard_exponential(N)
        self.censoring = np.minimum(120 * rng.random(N), 90.0)
        self.random_risk = rng.standard_normal(N)

    @cached_property
    def targets(self) -> SurvivalTargets[NDArray[Any]]:
        """Times and events to score against."""
        event = self.death <= self.censoring
        return SurvivalTargets(np.minimum(self.death, self.censoring), event, np.zeros(N, dtype=np.int64))

    @cached_property
    def predictions(self) -> Mapping[str, SurvivalPrediction]:
        """Better and worse predictions, by what they are."""
        worst = np.sort(self.death)[::-1][np.argsort(np.argsort(self.death))]
        return {
            "a perfect prediction": self._sharp(self.death),
            "a perfectly wrong prediction": self._sharp(worst),
            "random risks": replace(self._sharp(self.death), risk=self.random_risk, survival=self._flat()),
            "equal risks": replace(self._sharp(self.death), risk=np.zeros(N), survival=self._flat()),
        }

    def _sharp(self, death: np.ndarray[tuple[int], np.dtype[np.float64]]) -> SurvivalPrediction:
        """Sure of these times of death."""
        survival = np.where(death[:, None] > TIMES, 0.95, 0.05)
        return SurvivalPrediction(tuple(f"case-{i:02d}" for i in range(N)), -death, survival, TIMES)

    def _flat(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """The same curve for everybody."""
        return np.repeat(np.exp(-TIMES / 24)[None], N, axis=0)

    def degenerate(self) -> Iterator[tuple[str, Targets[NDArray[Any]], Targets[NDArray[Any]]]]:
        some = self.targets
        censored = replace(some, event=np.zeros(N, dtype=bool))
        yield "with no event among the test cases", censored, some
        yield "with no event at all", censored, censored
        alone = SurvivalTargets(some.time[:1], np.zeros(1, dtype=bool), some.time_bin[:1])
        yield "with one censored test case", alone, some


def _check_reason(undefined: UndefinedMetric, where: str) -> None:
    if not str(undefined).strip():
        raise Failure(f"{where}, UndefinedMetric without a word", "UndefinedMetric with the reason as its text")


CHECKS: Checklist[MetricSubject] = Checklist()
SCORES = ("value-in-range",)


@CHECKS.add(
    "value-in-range",
    "On ordinary cases the value is a finite float within the metric's `range`, or undefined with a reason.",
    cause="`range` is [0, 1] unless the class says otherwise; NaN is returned in place of UndefinedMetric.",
)
def value_in_range(subject: MetricSubject) -> None:
    low, high = subject.cls.range
    values = {what: subject.score(prediction) for what, prediction in subject.predictions.items()}
    for what, value in values.items():
        if value is not None and not (math.isfinite(value) and low - ROUNDING <= value <= high + ROUNDING):
            raise Failure(f"{value:g} for {what}", f"a value in [{low:g}, {high:g}]")
    if all(value is None for value in values.values()):
        raise Failure("undefined for every prediction of 80 cases with 50 events")


@CHECKS.add(
    "direction",
    "A perfect prediction has a better value than a perfectly wrong one, as `higher_is_better` says.",
    cause="`higher_is_better` is True unless the class says otherwise; or risk is read as time.",
    needs=SCORES,
)
def direction(subject: MetricSubject) -> None:
    if subject.cls.higher_is_better is None:
        raise Skipped("its value has no direction: higher_is_better = None")
    right, wrong = (subject.score(subject.predictions[f"a {w} prediction"]) for w in ("perfect", "perfectly wrong"))
    if right is None or wrong is None:
        raise Skipped("it is undefined for one of the two")
    if not (right > wrong if subject.cls.higher_is_better else right < wrong):
        raise Failure(
            f"{right:.3f} for a perfect and {wrong:.3f} for a perfectly wrong prediction, "
            f"with higher_is_better = {subject.cls.higher_is_better}"
        )


@CHECKS.add(
    "undefined-with-reason",
    "Where no event or one class is left it is undefined with a reason, or has a value; never NaN, never a silent 0.",
    cause="`return 0.0` (or NaN) where there is no comparable pair, or an exception of a library that is let through.",
    needs=SCORES,
)
def undefined_with_reason(subject: MetricSubject) -> None:
    for where, test, train in subject.degenerate():
        (n,) = {len(array) for array in vars(test).values()}
        prediction = list(subject.predictions.values())[2].take(range(n))
        try:
            value = subject.ask(prediction, test, train)
        except UndefinedMetric as undefined:
            _check_reason(undefined, where)
        except Exception as error:
            raise Failure(f"{where}, {raised(error)}") from error
        else:
            if value == 0 or not math.isfinite(value):
                raise Failure(f"{where}, the value {value:g}")


@CHECKS.add(
    "without-survival",
    "For a model that predicts risks only it has a value, or is undefined with a reason.",
    cause="`prediction.survival` is None for such models, and is used without looking.",
    needs=SCORES,
)
def without_survival(subject: MetricSubject) -> None:
    if not isinstance(subject, OfSurvival):
        raise Skipped("it scores classes, which have no survival curves")
    value = subject.score(replace(subject.predictions["random risks"], survival=None, times=None))
    if value is not None and not math.isfinite(value):
        raise Failure(f"the value {value}")


@CHECKS.add(
    "repeatable",
    "Called twice, and after pickling, it gives exactly the same value.",
    cause="random numbers that are not seeded, or something kept from one call to the next.",
    needs=SCORES,
)
def repeatable(subject: MetricSubject) -> None:
    for what, prediction in subject.predictions.items():
        values = [subject.score(prediction) for _ in range(2)]
        if values[0] != values[1]:
            raise Failure(f"{values[0]} and then {values[1]} for {what}")
    pickle.loads(pickle.dumps(subject.cls()))


@CHECKS.add(
    "order-of-cases",
    "The value does not depend on the order of the test cases.",
    cause="sorting one of the arrays and not the others.",
    needs=(*SCORES, "repeatable"),
)
def order_of_cases(subject: MetricSubject) -> None:
    rows = np.random.default_rng(0).permutation(N)
    test = subject.targets.map(lambda array: array[rows])
    for what, prediction in subject.predictions.items():
        before = subject.score(prediction)
        if before is None:
            continue
        after = subject.ask(prediction.take(rows.tolist()), test)
        if abs(after - before) > 1e-6:
            raise Failure(f"{before:.4f} for {what}, and {after:.4f} with the test cases shuffled")


@CHECKS.add(
    "inputs-not-changed",
    "Neither the prediction nor the targets are changed.",
    cause="`array.sort()` or `array -= ...` on what other metrics are given next.",
    needs=SCORES,
)
def inputs_not_changed(subject: MetricSubject) -> None:
    metric = subject.cls()
    for what, prediction in subject.predictions.items():
        given = [prediction, subject.targets, subject.targets]
        mine = copy.deepcopy(given)
        try:
            metric(*mine)
        except UndefinedMetric:
            continue
        changed = [
            name
            for old, new in zip(given, mine, strict=True)
            for name, array in vars(old).items()
            if not np.array_equal(array, vars(new)[name])
        ]
        if changed:
            raise Failure(f"`{changed[0]}` was changed while {what} was scored")


PROMISES: tuple[Promise[MetricSubject], ...] = (
    *declarations(lambda subject: subject.cls, options=False),
    *CHECKS.promises,
)


def checks(name: str, registry: Registry) -> list[Check]:
    """The checks of one metric."""
    return checks_of("metric", name, lambda: _subject(registry.metric(name)), PROMISES)


def _subject(cls: type[Metric]) -> MetricSubject:
    return OfSurvival(cls) if "survival" in cls.tasks else OfClasses(cls)
