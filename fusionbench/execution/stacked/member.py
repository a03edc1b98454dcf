"""One member of a stack: all that is its own while the products are shared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from fusionbench.core.errors import FusionBenchError
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.seeds import derive
from fusionbench.core.types import CaseSet, ModalitySpec, Task
from fusionbench.data.collate import batches
from fusionbench.data.loader import CACHE_BYTES, CaseFeed
from fusionbench.execution.training.objective import (
    Kept,
    Objective,
    checked_targets,
    given_targets,
    refuse_non_finite,
    validate,
)
from fusionbench.execution.training.optimizers import add_l1, optimizer, optimizer_steps, scheduler
from fusionbench.execution.training.torch_predictor import TorchPredictor

if TYPE_CHECKING:
    from fusionbench.execution.training.objective import Targets

Log = Callable[[int, Mapping[str, float]], None]
Window = list[list[int]]
"""The batches of one optimiser step, each the positions of its cases."""


@dataclass(frozen=True)
class Trainee:
    """What `train_module` takes, of one member; `recipe` and device are the stack's."""

    module: nn.Module
    task: Task
    specs: Mapping[str, ModalitySpec]
    train: CaseSet
    val: CaseSet
    seed: int
    log: Log


class Member:
    """Its module, whose weights lie in the stack, its cases and their order, optimiser, schedule and early stopping.

    Attributes:
        windows: the steps of the epoch at hand.
        dropout: its stream of random numbers, the one that it would draw from by itself.
        failure: what ended it; None while nothing has.
        ended: it trains no more.
    """

    def __init__(self, given: Trainee, recipe: TrainRecipe, device: torch.device, share: int) -> None:
        """`share`: among how many members the memory for prepared cases is divided."""
        self.given, self.recipe = given, recipe
        self.targets: Targets = checked_targets(given.train, given.task, recipe)
        self.val_targets = given_targets(given.val, "validation")
        size = recipe.eval_batch_size
        self.predictor = TorchPredictor(given.module, given.task, given.specs, device=device, batch_size=size)
        budget = CACHE_BYTES // share
        self.feed = CaseFeed(given.train, given.specs, device, budget=budget)
        self.val_feed = CaseFeed(given.val, given.specs, device, budget=budget - self.feed.held)
        self.objective = Objective.of(recipe, self.targets, given.task, device)
        self.order = torch.Generator().manual_seed(derive(given.seed, "order"))
        self.dropout = torch.Generator(device).manual_seed(derive(given.seed, "training"))
        self.parameters = list(given.module.parameters())
        self.optimizer = optimizer(self.parameters, recipe)
        self.scheduler = scheduler(self.optimizer, recipe, optimizer_steps(len(self.feed), recipe))
        self.kept = Kept(given.module, recipe)
        self.windows: list[Window] = []
        self.failure: Exception | None = None
        self.ended = False

    def begin(self) -> None:
        """Order the cases of a new epoch."""
        formed, width = batches(self.feed.lengths, self.recipe.batch_size, self.order), self.recipe.accumulate
        self.windows = [formed[start : start + width] for start in range(0, len(formed), width)]

    def window(self, step: int) -> Window:
        """The batches of a step; none once the epoch has no more."""
        return self.windows[step] if step < len(self.windows) else []

    def step(self) -> None:
        """Move the weights by the gradients that lie there, as `train_module` does."""
        self.rate = self.optimizer.param_groups[0]["lr"]
        add_l1(self.parameters, self.recipe.l1 * self.recipe.l1_factor)
        if self.recipe.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.recipe.grad_clip)
        self.optimizer.step()
        self.scheduler.step()

    def end_epoch(self, epoch: int, total: float) -> None:
        """Log the epoch and look at the validation cases; a failure ends this member alone."""
        try:
            loss = total / len(self.feed)
            refuse_non_finite(loss, f"the training loss of epoch {epoch}", self.recipe)
            values = {"train/loss": loss, "lr": float(self.rate)}
            values |= validate(self.predictor, self.val_feed, self.val_targets, self.objective, epoch)
        except FusionBenchError as error:
            self.failure, self.ended = error, True
            return
        self.given.log(epoch, values)
        self.ended = self.kept.see(epoch, values.get("val/loss", math.nan))

    def result(self) -> TorchPredictor | Exception:
        """The predictor with the weights to keep, or why there is none."""
        if self.failure is not None:
            return self.failure
        self.kept.settle(self.predictor)
        return self.predictor
