"""The two parts of a suite that make rows comparable, as values: the protocol and the training recipe.

Every switch is a key here; a variant changes keys, code does not branch on names of protocols.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Protocol(_Strict):
    """Splits, masks and what is scored; the defaults are the `clean` protocol.

    Attributes:
        fold_source: "generated" folds, or the cohort's "published" ones (validation cut from their train part).
        validation: share of the non-test cases that early stopping sees.
        bins: time bins wanted; tied quartiles merge.
        test_patterns: missing-modality patterns scored from one trained model; `only:*` and `drop:*` expand.
        mask_draws: masks drawn for `half` and `rate:<p>`.
        train_pattern: missing-modality pattern laid over training and validation cases.
        horizon: longest horizon tau in months for metrics that need one.
    """

    base: Literal["clean"] = "clean"
    unit: Literal["patient", "slide"] = "patient"
    fold_source: Literal["generated", "published"] = "generated"
    folds: int = Field(5, ge=2)
    repeats: int = Field(1, ge=1)
    validation: float = Field(0.15, gt=0, lt=1)
    bins: int = Field(4, ge=2)
    test_patterns: tuple[str, ...] = ("full",)
    mask_draws: int = Field(10, ge=1)
    train_pattern: str = "full"
    horizon: float = Field(60.0, gt=0)


class TrainRecipe(_Strict):
    """How a torch model is trained; the same for every model of a suite. Defaults: PROTOCOLS, `clean`.

    Optional values are switched off by "none" in a suite, since TOML has no null.

    Attributes:
        lr: settled between 2e-4 and 3e-3 on synthetic cohorts and on validation folds of HANCOCK, BLCA and KIRP: at
            2e-4 interactions are learnt late, from 1e-3 on the self-normalising networks are badly calibrated.
        loss: "nll" (discrete hazards), "ce" (Zadeh and Schmid 2021) or "cox" (partial likelihood, one output).
        alpha: weight taken off the censored cases (nll) or given to the uncensored term (ce), in [0, 1].
        clamp: lower bound of probabilities; None is exact, 1e-7 is what MCAT and Porpoise publish.
        class_weights: of training-bin counts, scaled so that the weighted count is the count.
        accumulate: batches whose gradients form one optimiser step.
        max_instances: instances drawn from a bag at each training epoch; evaluation always sees all.
        schedule: "onecycle" rises to `lr` over 30 % of the steps, "cosine" falls from `lr` to zero.
        patience: epochs without a better unweighted validation loss; None = train all epochs.
        restore_best: test the weights of the best validation epoch.
        grad_clip: largest norm of the gradient; None = no clipping.
        amp: bfloat16 autocast on CUDA; ignored on the CPU.
        eval_batch_size: cases side by side when predicting; does not change results.
    """

    optimizer: Literal["adamw", "adam", "radam", "sgd"] = "adamw"
    lr: float = Field(5e-4, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    batch_size: int = Field(16, ge=1)
    accumulate: int = Field(1, ge=1)
    epochs: int = Field(30, ge=1)
    schedule: Literal["constant", "cosine", "onecycle"] = "cosine"
    loss: Literal["nll", "ce", "cox"] = "nll"
    alpha: float = Field(0.0, ge=0, le=1)
    clamp: float | None = Field(None, gt=0, lt=0.5)
    class_weights: Literal["none", "inverse", "inverse_root"] = "none"
    cox_reduction: Literal["events", "cases"] = "events"
    l1: float = Field(0.0, ge=0)
    grad_clip: float | None = Field(None, gt=0)
    patience: int | None = Field(10, ge=1)
    restore_best: bool = True
    max_instances: int | None = Field(None, ge=1)
    amp: bool = True
    eval_batch_size: int = Field(32, ge=1)

    @field_validator("clamp", "grad_clip", "patience", "max_instances", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        """TOML has no null: a suite writes "none"."""
        return None if value == "none" else value

    @model_validator(mode="after")
    def _consistent(self) -> TrainRecipe:
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum belongs to optimizer 'sgd'; {self.optimizer!r} has none: set it to 0")
        if self.loss == "cox" and (self.alpha or self.clamp or self.class_weights != "none"):
            raise ValueError("alpha, clamp and class_weights belong to time bins; with loss 'cox' leave them unset")
        if self.loss == "cox" and self.batch_size < 2:
            raise ValueError("loss 'cox' compares the cases of a batch: set batch_size to 2 or more")
        return self


def overlay(value: Protocol | TrainRecipe, changes: Mapping[str, Any]) -> Any:
    """`value` with `changes` laid over it, validated again."""
    return type(value).model_validate({**value.model_dump(), **changes})
