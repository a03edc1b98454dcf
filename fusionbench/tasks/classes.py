"""Classes: two (one of them positive) or more; class order, probabilities from logits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusionbench.core.endpoints import (
    ClassPrediction,
    ClassTarget,
    ClassTargets,
    Prediction,
    Target,
    Targets,
    Task,
    TaskName,
    labels_of,
)
from fusionbench.core.errors import PluginError, did_you_mean
from fusionbench.core.protocol import Protocol, TrainRecipe
from fusionbench.core.types import DatasetInfo
from fusionbench.tasks.interface import Objective, PartCheck, TaskKind

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from fusionbench.core.preparation import State

    Floats = NDArray[np.float64]

SLACK = 1e-6
"""What rounding in single precision may take from or add to a probability, or to the sum of a case's."""

_OF_SURVIVAL = ("alpha", "clamp", "weight_on", "cox_reduction")
"""Keys of a recipe that mean something for survival alone."""


class Classes(TaskKind):
    """One of two or more classes a case."""

    primary_metric = "auroc"
    truth_label = "true probabilities"

    def __init__(self, name: Literal["binary", "multiclass"]) -> None:
        self.name: TaskName = name

    def target_problem(self, target: Target, info: DatasetInfo) -> str:
        if not isinstance(target, ClassTarget):
            return f"the target is a {type(target).__name__}; the endpoint {info.endpoint!r} has classes"
        return "" if target.label in info.classes else did_you_mean("class", target.label, info.classes)

    def cohort_problem(self, targets: Sequence[Target], info: DatasetInfo) -> str:
        n = Counter(_label(target) for target in targets)
        if not n:
            return f"no case has a class for {info.endpoint!r}; fill the cells of its column, or predict on the cases"
        if len(info.classes) < 2 or (self.name == "binary") != (len(info.classes) == 2):
            wanted = "two classes" if self.name == "binary" else "three classes or more"
            return f"a {self.name} endpoint has {wanted}, not {len(info.classes)}: {', '.join(info.classes)}"
        absent = [name for name in info.classes if not n[name]]
        if not absent:
            return ""
        return (
            f"no case is of class {absent[0]!r} ({self._counts(n)}); classes cannot be learnt or scored without cases"
        )

    def counts(self, targets: Sequence[Target], info: DatasetInfo, bins: int) -> dict[str, Any]:
        """Cases of each class."""
        n = Counter(map(_label, targets))
        return {"classes": {name: n[name] for name in info.classes}}

    def part_check(self, everyone: Sequence[Target | None]) -> PartCheck:
        classes = {_label(target) for target in everyone} - {""}

        def problem(targets: Sequence[Target | None]) -> str:
            absent = sorted(classes - {_label(target) for target in targets})
            return f"is of class {absent[0]!r}" if absent else ""

        return problem

    def strata(self, targets: Sequence[Target | None]) -> list[int]:
        """The rarest class is balanced first; of equally rare ones that whose name comes first."""
        labels = [_label(target) for target in targets]
        n = Counter(labels)
        order = {name: i for i, name in enumerate(sorted(n, key=lambda name: (n[name], name)))}
        return [order[name] for name in labels]

    def positive(self, classes: Sequence[str]) -> str:
        return f"of class {classes[1]!r}" if len(classes) == 2 else ""

    def is_positive(self, target: Target, classes: Sequence[str]) -> bool:
        return len(classes) == 2 and _label(target) == classes[1]

    def arrays(self, targets: Sequence[Target], task: Task) -> ClassTargets[NDArray[Any]]:
        place = {name: i for i, name in enumerate(task.classes)}
        return ClassTargets(np.array([place[_label(target)] for target in targets], dtype=np.int64))

    def recipe_problem(self, recipe: TrainRecipe) -> str:
        if recipe.loss != "nll":
            return (
                f"loss {recipe.loss!r} is for survival; classes have the loss 'nll', the cross-entropy of the classes"
            )
        usual = TrainRecipe()
        changed = [key for key in _OF_SURVIVAL if getattr(recipe, key) != getattr(usual, key)]
        return f"{', '.join(changed)}: for survival alone; leave it out where classes are predicted" if changed else ""

    def planned(
        self, protocol: Protocol, recipe: TrainRecipe, info: DatasetInfo, binary_outputs: Literal[1, 2]
    ) -> Task:
        width = binary_outputs if len(info.classes) == 2 else len(info.classes)
        return Task(self.name, n_outputs=width, classes=info.classes)

    def fitted(self, planned: Task, targets: Sequence[Target], protocol: Protocol, recipe: TrainRecipe) -> Task:
        return planned

    def record(self, task: Task) -> dict[str, Any]:
        return {"n_outputs": task.n_outputs, "classes": list(task.classes)}

    def task_of(self, record: Mapping[str, Any]) -> Task:
        return Task(self.name, n_outputs=record["n_outputs"], classes=tuple(record["classes"]))

    def objective(
        self, recipe: TrainRecipe, targets: Targets[NDArray[Any]], task: Task, device: torch.device
    ) -> Objective:
        from fusionbench.tasks.class_objective import ClassObjective

        return ClassObjective.of(recipe, labels_of(targets), task, device)

    def prediction(self, ids: tuple[str, ...], logits: Tensor, task: Task, extra: State) -> ClassPrediction:
        """Probabilities by softmax; of a single logit by the logistic function."""
        from fusionbench.tasks.class_objective import log_probabilities

        return ClassPrediction(ids, task.classes, log_probabilities(logits).exp().numpy())

    def averaged(self, logits: Tensor) -> Tensor:
        """The probability of each class, of one output that of the second of two."""
        from fusionbench.tasks.class_objective import log_probabilities

        return log_probabilities(logits)[:, -logits.shape[1] :].exp()

    def logits_of(self, averaged: Tensor) -> Tensor:
        tiny = np.finfo(np.float64).tiny
        log_p = averaged.clamp(min=tiny).log()
        return log_p if log_p.shape[1] > 1 else log_p - (1 - averaged).clamp(min=tiny).log()

    def truth(self, ids: tuple[str, ...], info: DatasetInfo) -> ClassPrediction:
        true = info.true_probability or {}
        rows = np.array([true[i] for i in ids], dtype=np.float64).reshape(len(ids), len(info.classes))
        return ClassPrediction(ids, info.classes, rows)

    def knows_truth(self, info: DatasetInfo) -> bool:
        return info.true_probability is not None

    def checked(
        self, prediction: object, ids: tuple[str, ...], who: str, classes: tuple[str, ...] = ()
    ) -> ClassPrediction:
        """
        Raises:
            PluginError: other cases, classes, shapes or dtypes than promised, or probabilities that cannot be.
        """
        if not isinstance(prediction, ClassPrediction):
            raise PluginError(f"{who}: predicted {type(prediction).__name__}, expected a ClassPrediction")
        if tuple(prediction.ids) != ids:
            raise PluginError(
                f"{who}: predicted {len(prediction.ids)} cases, not the {len(ids)} it was given, in order"
            )
        if tuple(prediction.classes) != classes:
            seen = list(prediction.classes)
            raise PluginError(f"{who}: predicted the classes {seen}, expected {list(classes)} in this order")
        probability = np.asarray(prediction.probability, dtype=np.float64)
        if probability.shape != (len(ids), len(classes)):
            expected = (len(ids), len(classes))
            raise PluginError(f"{who}: probability has shape {probability.shape}, expected (case, class) = {expected}")
        bad = np.flatnonzero(~np.isfinite(probability).all(axis=1))
        if bad.size:
            raise PluginError(f"{who}: a probability of case {ids[bad[0]]!r} is not finite; training may have diverged")
        if probability.min(initial=0) < -SLACK or (np.abs(probability.sum(axis=1) - 1) > SLACK * len(classes)).any():
            raise PluginError(f"{who}: probabilities of a case must lie in [0, 1] and sum to 1")
        return ClassPrediction(ids, classes, probability)

    def mean(self, prediction: Prediction, name: str) -> ClassPrediction:
        made = _classes(prediction)
        return ClassPrediction((name,), made.classes, made.probability.mean(axis=0, keepdims=True))

    def average(self, predictions: Sequence[Prediction]) -> ClassPrediction:
        made = [_classes(prediction) for prediction in predictions]
        return ClassPrediction(made[0].ids, made[0].classes, np.mean([of.probability for of in made], axis=0))

    def filled(
        self, ids: tuple[str, ...], prior: Prediction, rows: Sequence[int], made: Prediction | None
    ) -> ClassPrediction:
        of = _classes(prior)
        probability = np.repeat(of.probability, len(ids), axis=0)
        if made is not None:
            probability[list(rows)] = _classes(made).probability
        return ClassPrediction(ids, of.classes, probability)

    def on_grid(self, prediction: Prediction, grid: Floats) -> ClassPrediction:
        """Probabilities of classes do not depend on time."""
        return replace(_classes(prediction))

    def to_horizon(self, targets: Targets[NDArray[Any]], tau: float) -> Targets[NDArray[Any]]:
        return targets

    def values(self, prediction: Prediction) -> dict[str, Any]:
        made = _classes(prediction)
        return {"classes": list(made.classes), "probability": [float(p) for p in made.probability[0]]}

    def of_values(self, name: str, values: Mapping[str, Any]) -> ClassPrediction:
        return ClassPrediction((name,), tuple(values["classes"]), np.array([values["probability"]]))

    @staticmethod
    def _counts(n: Mapping[str, int]) -> str:
        return ", ".join(f"{name}: {count}" for name, count in sorted(n.items()))


def _label(target: Target | None) -> str:
    return target.label if isinstance(target, ClassTarget) else ""


def _classes(prediction: Prediction) -> ClassPrediction:
    assert isinstance(prediction, ClassPrediction)
    return prediction
