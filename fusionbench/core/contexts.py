"""What the harness gives a model while it is fitted or restored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from fusionbench.core.predictor import Predictor
from fusionbench.core.preparation import Preparation, State
from fusionbench.core.types import CaseSet, Member, ModalitySpec, Prediction, Task

if TYPE_CHECKING:
    import torch
    from torch import nn


class FitContext(Protocol):
    """What the harness gives a model while it is fitted."""

    @property
    def task(self) -> Task:
        """What is to be predicted, with this fold's time bins or the classes."""
        ...

    @property
    def specs(self) -> Mapping[str, ModalitySpec]:
        """Modality name to its prepared form (widths after preprocessing), in the cell's order."""
        ...

    @property
    def seed(self) -> int:
        """Seed of this cell; the only source of randomness that a model may use."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the cell is computed."""
        ...

    def train(self, module: nn.Module, train: CaseSet, val: CaseSet) -> Predictor:
        """The one training loop, with the suite's recipe or the model's own, in the stages that it has.

        A second call numbers its epochs on from those of the first.

        Args:
            module: maps a Batch to logits (case, n_outputs), or to Outputs.
        """
        ...

    def member(self, member: Member) -> MemberFit:
        """A model declared by `members`, fitted on this fold already.

        Raises:
            PluginError: the model has not declared it.
        """
        ...

    def prepared(self, preparation: Preparation) -> State:
        """What a preparation declared by `preparations` has made on this fold's training cases.

        Raises:
            PluginError: the model has not declared it.
        """
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record quantities of a step, such as losses of an epoch; stored as history.parquet and shown in MLflow."""
        ...


class MemberFit(Protocol):
    """A fitted member."""

    @property
    def predictor(self) -> Predictor:
        """Predicts on any CaseSet whose specs hold the member's modalities.

        Hand it `cases.restrict(modalities)` of the cases that have at least one of the member's modalities.
        """
        ...

    @property
    def validation(self) -> Prediction:
        """Out-of-sample predictions on those validation cases that have one of the member's modalities."""
        ...

    @property
    def prior(self) -> Prediction:
        """The training-mean prediction, for cases without any of the member's modalities: one row, id "prior"."""
        ...

    @property
    def validation_loss(self) -> float:
        """The best validation negative log-likelihood (of follow-up or of classes); NaN where the member has none."""
        ...


class RestoreContext(Protocol):
    """What the harness gives a model while it is restored from disk."""

    @property
    def task(self) -> Task:
        """What is predicted, with the fold's time bins or the classes."""
        ...

    @property
    def specs(self) -> Mapping[str, ModalitySpec]:
        """Modality name to its prepared form, in the cell's order."""
        ...

    @property
    def device(self) -> torch.device:
        """Where predictions will be computed."""
        ...

    def module(self, module: nn.Module, state: State) -> Predictor:
        """The inverse of `FitContext.train(...).state()`."""
        ...

    def member(self, member: Member) -> MemberFit:
        """A model declared by `members`, restored as well."""
        ...

    def prepared(self, preparation: Preparation) -> State:
        """What a preparation declared by `preparations` had made when the model was fitted."""
        ...
