"""What is predicted and what is said about it: tasks, targets of cases, predictions; importing them loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

A = TypeVar("A")
B = TypeVar("B")

TaskName = Literal["survival", "binary", "multiclass"]


@dataclass(frozen=True)
class Task:
    """What is to be predicted.

    Attributes:
        kind: "survival", "binary" (two classes) or "multiclass" (three or more).
        n_outputs: width of a model's output. Survival: the number of time bins, or 1 for the Cox loss. Classes: one
            logit a class; 1, the logit of the second class, for a model that has `binary_outputs = 1` on two classes.
        edges: survival: inner edges of the time bins of this fold, in `time_unit`, ascending; one less than the bins.
        classes: names of the classes, in the order of targets and probabilities; of two the second is the positive one.
    """

    kind: TaskName = "survival"
    n_outputs: int = 4
    time_unit: str = "month"
    edges: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SurvivalTarget:
    """The follow-up of one case.

    Attributes:
        time: to the event or to the end of follow-up, in the cohort's unit; in months inside the harness.
        event: True = observed, False = censored at `time`.
    """

    time: float
    event: bool


@dataclass(frozen=True)
class ClassTarget:
    """The class of one case, by its name."""

    label: str


Target = SurvivalTarget | ClassTarget


@dataclass(frozen=True, eq=False)
class SurvivalTargets(Generic[A]):
    """Targets of several cases, in their order: numpy arrays in a CaseSet, tensors in a Batch.

    Attributes:
        time: (case,) float, months.
        event: (case,) bool, True = observed.
        time_bin: (case,) int64, bin of event or censoring under the fold's edges.
    """

    time: A
    event: A
    time_bin: A

    def map(self, change: Callable[[A], B]) -> SurvivalTargets[B]:
        """The same targets with every array changed: some of the cases, or as tensors."""
        return SurvivalTargets(change(self.time), change(self.event), change(self.time_bin))


@dataclass(frozen=True, eq=False)
class ClassTargets(Generic[A]):
    """Classes of several cases, in their order: a numpy array in a CaseSet, a tensor in a Batch.

    Attributes:
        label: (case,) int64, position of the case's class in `Task.classes`.
    """

    label: A

    def map(self, change: Callable[[A], B]) -> ClassTargets[B]:
        """The same targets with the array changed: some of the cases, or as a tensor."""
        return ClassTargets(change(self.label))


Targets = SurvivalTargets[A] | ClassTargets[A]


@dataclass(frozen=True, eq=False)
class SurvivalPrediction:
    """What a predictor says of some cases.

    Attributes:
        ids: case ids, in order.
        risk: (case,) float64; higher = earlier event.
        survival: (case, time) float64, S at `times`, non-increasing; None where the model has no S.
        times: (time,) ascending and positive, in months.
    """

    ids: tuple[str, ...]
    risk: Floats
    survival: Floats | None = None
    times: Floats | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """None: survival has no classes."""
        return ()

    @property
    def scores(self) -> Floats:
        """(case, 1) float64: what cases are ranked by; the risk."""
        return self.risk[:, None]

    def take(self, rows: Sequence[int]) -> SurvivalPrediction:
        """What is said of some of the cases, in the order of `rows`."""
        index = list(rows)
        survival = None if self.survival is None else self.survival[index]
        return SurvivalPrediction(tuple(self.ids[i] for i in index), self.risk[index], survival, self.times)


@dataclass(frozen=True, eq=False)
class ClassPrediction:
    """What a predictor says of the classes of some cases.

    Attributes:
        ids: case ids, in order.
        classes: names of the classes, as in `Task.classes`.
        probability: (case, class) float64 in [0, 1]; a row sums to 1.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    probability: Floats

    @property
    def scores(self) -> Floats:
        """(case, score) float64: what cases are ranked by, the log odds of each class; of two that of the second."""
        return self.log_odds[:, 1:] if len(self.classes) == 2 else self.log_odds

    @property
    def log_odds(self) -> Floats:
        """(case, class) float64: log odds of each class against the others.

        Log odds tell apart what lies close to 0 and to 1; a probability of exactly 0 or 1 has finite ones.
        """
        import numpy as np

        others = self.probability @ (1.0 - np.eye(len(self.classes)))  # a sum, without the cancellation of 1 - p
        least = np.finfo(np.float64).tiny
        return np.asarray(np.log(np.maximum(self.probability, least)) - np.log(np.maximum(others, least)))

    def take(self, rows: Sequence[int]) -> ClassPrediction:
        """What is said of some of the cases, in the order of `rows`."""
        index = list(rows)
        return ClassPrediction(tuple(self.ids[i] for i in index), self.classes, self.probability[index])


Prediction = SurvivalPrediction | ClassPrediction


def survival_prediction(prediction: Prediction) -> SurvivalPrediction:
    """A prediction that has to be one of survival, for code that is about survival alone.

    Raises:
        TypeError: it is one of classes.
    """
    if not isinstance(prediction, SurvivalPrediction):
        raise TypeError(f"a SurvivalPrediction is needed, not {type(prediction).__name__}")
    return prediction


def followed(target: Target | None) -> SurvivalTarget:
    """A target that has to be follow-up, for code that is about survival alone.

    Raises:
        TypeError: there is none, or it is a class.
    """
    if not isinstance(target, SurvivalTarget):
        raise TypeError(f"follow-up is needed, not {type(target).__name__}")
    return target


def follow_up(targets: Targets[Any] | None) -> SurvivalTargets[Any]:
    """Targets that have to be follow-up, for code that is about survival alone.

    Raises:
        TypeError: there are none, or they are classes.
    """
    if not isinstance(targets, SurvivalTargets):
        raise TypeError(f"follow-up is needed, not {type(targets).__name__}")
    return targets


def labels_of(targets: Targets[Any] | None) -> ClassTargets[Any]:
    """Targets that have to be classes.

    Raises:
        TypeError: there are none, or they are follow-up.
    """
    if not isinstance(targets, ClassTargets):
        raise TypeError(f"classes are needed, not {type(targets).__name__}")
    return targets
