"""Stages of a training: which parameters train, for how many epochs and at which rates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from pydantic import BaseModel, ConfigDict, Field


class Stage(BaseModel):
    """A part of a training in which some parameters train and the others are frozen.

    Attributes:
        name: for messages and the cell's record.
        epochs: of the stage. The last one may leave them out and takes what the others leave of `train.epochs`.
        train: names of the parameters that train, with `*` for any part of one, such as `head.*`; all by default.
        frozen: names of those among them that do not train.
        frozen_dropout: names of parameters of frozen parts in which dropout goes on; others compute as in evaluation.
        lr_factor: multiplies the rates of the recipe, those of its groups as well.
        warmup: first epochs of the stage, in which the rates rise from zero, linearly.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    epochs: int | None = Field(None, ge=1)
    train: tuple[str, ...] = Field(("*",), min_length=1)
    frozen: tuple[str, ...] = ()
    frozen_dropout: tuple[str, ...] = ()
    lr_factor: float = Field(1.0, gt=0)
    warmup: float = Field(0.0, ge=0)


def first_epochs(stages: Sequence[Stage]) -> list[int]:
    """The epoch, counted from 1, that each stage begins with."""
    return list(accumulate((stage.epochs or 0 for stage in stages[:-1]), initial=1))


def check_stages(stages: Sequence[Stage], epochs: int) -> None:
    """
    Raises:
        ValueError: the stages do not take `epochs` together, two have one name, or a warm-up is longer than its stage.
    """
    if not stages:
        return
    said = ", ".join(f"{stage.name} {'the rest' if stage.epochs is None else stage.epochs}" for stage in stages)
    if len({stage.name for stage in stages}) < len(stages):
        raise ValueError(f"each stage needs a name of its own; they are {', '.join(stage.name for stage in stages)}")
    if open_ended := [stage.name for stage in stages[:-1] if stage.epochs is None]:
        raise ValueError(f"stage {open_ended[0]!r} needs epochs: only the last stage may leave them out")
    left = epochs - first_epochs(stages)[-1] + 1
    if left < 1 or stages[-1].epochs not in (None, left):
        raise ValueError(f"the stages share out epochs = {epochs}, and theirs are: {said}")
    for stage in stages:
        if stage.warmup > (own := stage.epochs or left):
            raise ValueError(f"stage {stage.name!r}: warmup = {stage.warmup:g} is longer than its {own} epochs")
