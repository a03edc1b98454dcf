"""The result of one cell: predictions, scores, training history and the fitted state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fusionbench.core.types import Prediction

if TYPE_CHECKING:
    from fusionbench.core.preparation import State

AFTER = "after:"
"""Begins the patterns of what a model predicts after each of its steps; no modality is hidden then."""

STAGE = "stage"
"""Number of the training's stage, from 1, of an epoch; of models that are trained in stages."""

OWN_QUANTITIES = frozenset({"loss", "c_index", "auroc", "lr", "skipped_batches", STAGE})
"""What the training loop itself writes into a history; other quantities of training and validation are a model's own,
such as auxiliary losses."""

Status = Literal["ok", "skipped", "failed"]


@dataclass(frozen=True)
class PatternPrediction:
    """Predictions on one set of cases.

    Attributes:
        split: "test" or "val".
        pattern: missing-modality pattern (`full`, `half`, `only:omic`, ...), or a step of the model (`after:omic`).
        draw: which of the pattern's masks; 0 where there is one.
        prediction: S on the dataset's time grid.
        n_prior: cases without any visible modality, given the training-mean risk.
        realised: share of (case, modality) pairs hidden or absent.
    """

    split: Literal["test", "val"]
    pattern: str
    draw: int
    prediction: Prediction
    n_prior: int = 0
    realised: float = 0.0


@dataclass(frozen=True)
class Score:
    """One metric on one pattern of one cell, averaged over the pattern's draws; NaN carries its reason.

    Attributes:
        n_cases: test cases scored.
        n_prior: those of them that had no visible modality and were given the training-mean risk.
    """

    pattern: str
    metric: str
    value: float
    reason: str
    n_cases: int
    n_prior: int = 0


@dataclass(frozen=True)
class CellResult:
    """What `run_cell` returns.

    Attributes:
        key: the cell's key.
        status: ok, skipped (the model cannot take the modalities) or failed.
        reason: why it was skipped or failed; empty for ok.
        predictions: on the validation cases, and on the test cases under each pattern.
        history: rows of (epoch, split, quantity, value).
        record: JSON values for cell.json: cell, options, timings, environment, notes, ledgers.
        preprocess: JSON state of the fitted preprocessor.
        state: named arrays of the fitted model.
        curves: S of the test cases under the pattern `full` at the model's own times: `times` (time,) in months and
            `survival` (case, time), in the order of the predictions; empty for a model without S.
    """

    key: str
    status: Status
    reason: str = ""
    predictions: tuple[PatternPrediction, ...] = ()
    scores: tuple[Score, ...] = ()
    history: tuple[tuple[int, str, str, float], ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    state: State = field(default_factory=dict)
    curves: State = field(default_factory=dict)
