"""Kinds of endpoints: survival and classes. What differs between them stands here, behind one interface."""

from __future__ import annotations

from collections.abc import Sequence

from fusionbench.core.endpoints import ClassTarget, Prediction, Target, TaskName
from fusionbench.tasks.classes import Classes
from fusionbench.tasks.interface import Objective as Objective
from fusionbench.tasks.interface import PartCheck as PartCheck
from fusionbench.tasks.interface import TaskKind as TaskKind
from fusionbench.tasks.survival import Survival

KINDS: dict[TaskName, TaskKind] = {kind.name: kind for kind in (Survival(), Classes("binary"), Classes("multiclass"))}


def task_kind(name: TaskName) -> TaskKind:
    """What belongs to a kind of endpoint."""
    return KINDS[name]


def kind_of_target(target: Target) -> TaskKind:
    """The kind of endpoint that a case's target belongs to; classes are split alike, however many there are."""
    return KINDS["multiclass" if isinstance(target, ClassTarget) else "survival"]


def kind_of(prediction: Prediction) -> TaskKind:
    """The kind of endpoint that a prediction is about."""
    return kind_with(prediction.classes)


def kind_with(classes: Sequence[str]) -> TaskKind:
    """The kind of endpoint that has these classes; survival has none."""
    return KINDS["binary" if len(classes) == 2 else "multiclass" if classes else "survival"]
