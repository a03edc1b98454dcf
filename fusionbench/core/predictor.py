"""A fitted model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fusionbench.core.attention_map import AttentionMap
from fusionbench.core.preparation import State
from fusionbench.core.types import Attention, CaseSet, Prediction, StepPrediction

if TYPE_CHECKING:
    from torch import Tensor


class Predictor(ABC):
    """A fitted model."""

    @abstractmethod
    def predict(self, cases: CaseSet) -> Prediction:
        """One prediction per case, in order: a SurvivalPrediction, or a ClassPrediction where the task has classes.

        `cases.targets` is None. Each case has at least one modality.
        """

    def predict_validation(self, val: CaseSet) -> Prediction:
        """Out-of-sample predictions on the validation cases.

        Override in a model that fits on the validation cases too (out-of-bag, cross-fitted).
        """
        return self.predict(val)

    def attention(self, cases: CaseSet) -> Mapping[str, Attention] | None:
        """Attention by modality, of those in which the model chooses; None for a model without attention.

        Items are padded to the longest case.
        """
        return None

    def attention_maps(self, cases: CaseSet) -> Mapping[str, AttentionMap]:
        """Maps with more axes, by name: of classes, of queries, before the softmax, of transport; empty for others.

        Items and queries are padded to the longest case.
        """
        return {}

    def embedding(self, cases: CaseSet) -> Tensor | None:
        """(case, feature) float64 on the CPU: the fused cases, of a module that gives `Outputs.embedding`."""
        return None

    def predict_steps(self, cases: CaseSet) -> Sequence[StepPrediction]:
        """What is predicted after each step of a model that reads one modality after the other; empty for others."""
        return ()

    @abstractmethod
    def state(self) -> State:
        """Named arrays from which `FusionModel.restore` makes an equal predictor."""
