"""The abstract class of a metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from fusionbench.core.checked import Checked
from fusionbench.core.endpoints import TaskName


class Metric(Checked, ABC):
    """A score of predictions on test cases.

    Attributes:
        higher_is_better: None where the value has no direction and is never ranked (a p-value).
        horizon: "tau" = the harness censors the test targets just beyond the dataset's horizon and gives S on the
            dataset's time grid, whose last point is tau; "own" = targets as they are and S at the model's times.
        range: smallest and largest possible value.
        tasks: the kinds of endpoints it scores, which say what it is called with: SurvivalPrediction and
            SurvivalTargets, or ClassPrediction and ClassTargets.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    higher_is_better: ClassVar[bool | None] = True
    horizon: ClassVar[Literal["own", "tau"]] = "own"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    tasks: ClassVar[tuple[TaskName, ...]] = ("survival",)

    @abstractmethod
    def __call__(self, prediction: Any, test: Any, train: Any) -> float:
        """One value for the test cases.

        Args:
            prediction: SurvivalPrediction or ClassPrediction, by `tasks`; one row a test case.
            test: SurvivalTargets or ClassTargets of the test cases, as numpy arrays.
            train: of the training and validation cases, which serve weights by the probability of being uncensored.

        Raises:
            UndefinedMetric: with the reason; the harness stores NaN.
        """
