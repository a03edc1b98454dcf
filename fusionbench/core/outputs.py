"""What a torch module may return beside its logits: named losses, logits after each step, an embedding."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusionbench.core.endpoints import Prediction

if TYPE_CHECKING:
    from torch import Tensor

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
"""What a loss or a step may be called: its name is part of other names."""


@dataclass(frozen=True, eq=False)
class Steps:
    """The logits after each step of a module that reads one modality after the other.

    Attributes:
        names: of the steps, in their order (`clinical`, `omic`); the same in every batch.
        logits: (case, step, output), as the module's logits; what stands at a step that was not taken is not read.
        taken: (case, step) bool; False where a case did not take the step, such as one that lacks the modality.
    """

    names: tuple[str, ...]
    logits: Tensor
    taken: Tensor


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a module returns in the place of logits where it has more to say.

    Trained is the task's loss plus the weighted auxiliary losses, each a mean over the cases of an optimiser step. What
    is stored as `loss`, early stopping and tuning stay on the task's own loss. Predictions read the logits alone.

    Attributes:
        logits: (case, n_outputs).
        losses: name to an auxiliary loss: (case,), of which the mean over the cases is taken, or a scalar, taken as
            that mean. A batch without a loss of that name counts as zero.
        weights: name to the weight of an auxiliary loss, 1 where none is given. The names `loss` and `steps` weigh the
            task's loss on `logits` and on `step_logits`.
        embedding: (case, feature) of the fused cases, for whoever asks the predictor for it.
        step_logits: trained by the task's loss, the mean over the steps that the cases have taken, and scored as
            `after:NAME`.
        parts: (part,) int64, the position of the case that each row of `logits` belongs to, where a module predicts
            once for each of several sub-bags of a case; `logits` is then (part, n_outputs). Trained is the mean of the
            losses of a case's parts, and predicted the mean of their scores: of S and of the risk, or of the
            probabilities. The Cox loss, which compares cases, gets the mean of their log hazards. A module that wants
            the mean of the logits takes it itself (`Parts.mean` of `fusionbench.nn.sub_bags`).
    """

    logits: Tensor
    losses: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    embedding: Tensor | None = None
    step_logits: Steps | None = None
    parts: Tensor | None = None


@dataclass(frozen=True, eq=False)
class StepPrediction:
    """What a model predicts after one of its steps.

    Attributes:
        name: of the step.
        rows: positions of the cases that have taken this step or one before it.
        prediction: of these cases, each as after the last step that it has taken so far.
    """

    name: str
    rows: tuple[int, ...]
    prediction: Prediction
