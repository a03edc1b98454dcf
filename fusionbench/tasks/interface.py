"""What a kind of endpoint has to bring: from targets to folds, losses, predictions and what is stored of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from fusionbench.core.endpoints import Prediction, Target, Targets, Task, TaskName
from fusionbench.core.protocol import Protocol, TrainRecipe
from fusionbench.core.types import DatasetInfo

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from fusionbench.core.preparation import State

    Floats = NDArray[np.float64]


class Objective(ABC):
    """The training loss of a cell: a sum over units, so that accumulated batches can share one mean."""

    @property
    def needs(self) -> str:
        """What a batch needs to have a unit, for the message where no batch has it; empty where every batch has one."""
        return ""

    @property
    def compares_cases(self) -> bool:
        """Whether the loss of a case depends on the others of its batch, which then cannot be split."""
        return False

    @abstractmethod
    def units(self, index: Sequence[int]) -> int:
        """How many units these training cases make together; 0 = nothing to learn from."""

    @abstractmethod
    def __call__(self, logits: Tensor, targets: Targets[Tensor]) -> Tensor:
        """The sum of the losses of a batch, a scalar.

        Args:
            logits: (case, n_outputs) float32 or wider.
        """

    def comparable(self, targets: Targets[Tensor]) -> bool:
        """Whether the loss is defined on these cases, at least one; by default it is."""
        return True

    def over_steps(self, logits: Tensor, targets: Targets[Tensor], taken: Tensor) -> Tensor:
        """The mean loss over the steps that cases have taken, a scalar; each (case, step) counts once.

        Args:
            logits: (case, step, n_outputs) float32 or wider.
            taken: (case, step) bool.
        """
        total, pairs = logits.new_zeros(()), 0
        for step in range(logits.shape[1]):
            rows = taken[:, step].nonzero().flatten()
            of = _taken(targets, rows)
            if len(rows) and self.comparable(of):
                total, pairs = total + self(logits[rows, step], of), pairs + len(rows)
        return total / max(pairs, 1)

    @abstractmethod
    def validate(self, logits: Tensor, targets: Targets[NDArray[Any]]) -> dict[str, float]:
        """`val/loss`, by which training stops early, and a score to watch, as far as they are defined.

        Args:
            logits: (case, n_outputs) float64 on the CPU, of all validation cases.
        """

    def after_training(self, logits: Callable[[], Tensor]) -> State:
        """Arrays, beside the weights, that predictions need; none by default.

        Args:
            logits: gives (case, n_outputs) float64 on the CPU, of all training cases; they are computed when called.
        """
        return {}


def _taken(targets: Targets[Tensor], rows: Tensor) -> Targets[Tensor]:
    return targets.map(lambda array: array[rows])


PartCheck = Callable[[Sequence[Target | None]], str]
"""Of the targets of a fold's part: what none of its cases has or is, so that the part is of no use; else empty."""


class TaskKind(ABC):
    """A kind of endpoint.

    Attributes:
        primary_metric: by which rows are ranked, and which a suite has that names no metric.
        truth_label: what the oracle baseline is, for the policy column.
    """

    name: TaskName
    primary_metric: str
    truth_label: str

    # Targets of a cohort

    @abstractmethod
    def target_problem(self, target: Target, info: DatasetInfo) -> str:
        """What is wrong with one case's target, and what to do; empty where nothing is."""

    @abstractmethod
    def cohort_problem(self, targets: Sequence[Target], info: DatasetInfo) -> str:
        """Why nothing can be learnt from these targets; empty where something can."""

    @abstractmethod
    def counts(self, targets: Sequence[Target], info: DatasetInfo, bins: int) -> dict[str, Any]:
        """How many cases there are of what, as JSON values for the lock."""

    @abstractmethod
    def part_check(self, everyone: Sequence[Target | None]) -> PartCheck:
        """The check of each part of a fold, in a cohort with the targets of `everyone`."""

    @abstractmethod
    def strata(self, targets: Sequence[Target | None]) -> list[int]:
        """(case,) stratum of each case, by which folds are balanced: 0 is balanced first, the highest last."""

    @abstractmethod
    def positive(self, classes: Sequence[str]) -> str:
        """Which cases are positive, for people: whose event was observed, or who have the second of two classes; empty
        where no case is.

        Args:
            classes: of the endpoint, here and below.
        """

    @abstractmethod
    def is_positive(self, target: Target, classes: Sequence[str]) -> bool:
        """Whether a case is positive."""

    @abstractmethod
    def arrays(self, targets: Sequence[Target], task: Task) -> Targets[NDArray[Any]]:
        """The targets as arrays, in their order."""

    # Planning and fitting

    @abstractmethod
    def recipe_problem(self, recipe: TrainRecipe) -> str:
        """What of a recipe does not fit this kind of endpoint, and what to do; empty where all does."""

    @abstractmethod
    def planned(
        self, protocol: Protocol, recipe: TrainRecipe, info: DatasetInfo, binary_outputs: Literal[1, 2]
    ) -> Task:
        """The task before anything is fitted."""

    @abstractmethod
    def fitted(self, planned: Task, targets: Sequence[Target], protocol: Protocol, recipe: TrainRecipe) -> Task:
        """The task of a fold; `targets` are those that the protocol fits it on."""

    @abstractmethod
    def record(self, task: Task) -> dict[str, Any]:
        """The task as JSON values; `task_of` is the inverse."""

    @abstractmethod
    def task_of(self, record: Mapping[str, Any]) -> Task:
        """The task of a stored cell."""

    @abstractmethod
    def objective(
        self, recipe: TrainRecipe, targets: Targets[NDArray[Any]], task: Task, device: torch.device
    ) -> Objective:
        """The loss on these training targets.

        Raises:
            DataError: there is nothing to train on.
        """

    @abstractmethod
    def prediction(self, ids: tuple[str, ...], logits: Tensor, task: Task, extra: State) -> Prediction:
        """From logits to a prediction.

        Args:
            logits: (case, n_outputs) float64 on the CPU.
            extra: what `Objective.after_training` gave.
        """

    def mean_of_parts(self, logits: Tensor, parts: Tensor, cases: int) -> Tensor:
        """(case, n_outputs) float64: the logits that predict the mean of what is predicted of the parts of a case.

        Args:
            logits: (part, n_outputs) float64.
            parts: (part,) position of the case that each belongs to; every case has at least one.
        """
        from fusionbench.tasks.parts import mean_of_parts, parts_beside

        averaged = self.logits_of(mean_of_parts(self.averaged(logits), parts, cases))
        # A case of one part is predicted as its logits say, to the last bit.
        alone = mean_of_parts(parts_beside(parts).double(), parts, cases) == 1
        return averaged.where(~alone.unsqueeze(1), mean_of_parts(logits, parts, cases))

    @abstractmethod
    def averaged(self, logits: Tensor) -> Tensor:
        """What of a prediction is averaged over the parts of a case, from (part, n_outputs) logits: S, or
        probabilities."""

    @abstractmethod
    def logits_of(self, averaged: Tensor) -> Tensor:
        """(case, n_outputs) finite logits that predict it; the inverse of `averaged`."""

    def outcome_doubts(self, here: Targets[NDArray[Any]], training: Targets[NDArray[Any]]) -> list[str]:
        """What looks wrong about the outcomes of a new cohort beside those of the training cases, one line each."""
        return []

    # Predictions

    @abstractmethod
    def truth(self, ids: tuple[str, ...], info: DatasetInfo) -> Prediction:
        """What is true of some cases by construction, of a cohort that `knows_truth`."""

    @abstractmethod
    def knows_truth(self, info: DatasetInfo) -> bool:
        """Whether a cohort knows the true hazards or probabilities of its cases."""

    @abstractmethod
    def checked(self, prediction: object, ids: tuple[str, ...], who: str, classes: tuple[str, ...] = ()) -> Prediction:
        """A plugin's prediction, held against its promise: these cases, and these classes where the task has any.

        Raises:
            PluginError: other cases, shapes or dtypes than promised, or numbers that cannot be.
        """

    @abstractmethod
    def mean(self, prediction: Prediction, name: str) -> Prediction:
        """The mean over the cases, as one row of id `name`."""

    @abstractmethod
    def average(self, predictions: Sequence[Prediction]) -> Prediction:
        """The mean of what several models predict of the same cases: of risks and S, or of probabilities.

        Args:
            predictions: at least one; S, where there is any, at the same times.
        """

    @abstractmethod
    def filled(
        self, ids: tuple[str, ...], prior: Prediction, rows: Sequence[int], made: Prediction | None
    ) -> Prediction:
        """The one row of `prior` for every case, but at `rows` what was `made`."""

    @abstractmethod
    def on_grid(self, prediction: Prediction, grid: Floats) -> Prediction:
        """The same prediction as it is stored: what depends on time stands at the times of `grid` (months)."""

    @abstractmethod
    def to_horizon(self, targets: Targets[NDArray[Any]], tau: float) -> Targets[NDArray[Any]]:
        """The targets as far as they are known by `tau` months, for metrics that have a horizon."""

    # Stored predictions

    @abstractmethod
    def values(self, prediction: Prediction) -> dict[str, Any]:
        """A prediction of one case as JSON values; `of_values` is the inverse."""

    @abstractmethod
    def of_values(self, name: str, values: Mapping[str, Any]) -> Prediction:
        """The stored prediction of one case, `name`."""
