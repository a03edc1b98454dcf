"""The one torch training loop; models reach it as `ctx.train`.

The loss of an optimiser step is a mean over units: cases, or events (or cases) for `cox`. Accumulated batches share
that mean, so that two batches of 8 make the same step as one of 16, and an incomplete last window is a step of its own.
Early stopping sees the exact negative log-likelihood of the validation cases, without class weights, label smoothing
and alpha, whatever the training loss is (unless the recipe asks for the loss as trained); for `cox` it sees the partial
likelihood over all validation cases. Auxiliary losses (`Outputs.losses`) are means over cases, of the whole window as
well; they take part in what is trained and in nothing that chooses. Where the recipe has stages (`stages.py`), early
stopping counts and weights are kept from the last one on: the stages before it are trained in full.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fusionbench.core.errors import FusionBenchError
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.seeds import derive
from fusionbench.core.timing import BACKWARD, EVALUATE, FORWARD, OPTIMISER, span
from fusionbench.core.types import Batch, CaseSet, ModalitySpec, Task
from fusionbench.data.bag_parts import drawn
from fusionbench.data.collate import batches, within
from fusionbench.data.loader import CACHE_BYTES, CaseLoader
from fusionbench.execution.training.objective import (
    BestCheckpoint,
    given_targets,
    refuse_non_finite,
    validate,
)
from fusionbench.execution.training.optimizers import (
    Lookahead,
    add_l1,
    autocast,
    compile_limits,
    matching,
    optimizer,
    optimizer_steps,
    parameter_groups,
    scheduler,
    training_module,
)
from fusionbench.execution.training.outputs import (
    EpochLosses,
    as_trained_on,
    forward,
    step_losses,
    task_loss,
    trained_loss,
)
from fusionbench.execution.training.stages import Stages
from fusionbench.execution.training.torch_predictor import TorchPredictor
from fusionbench.tasks import task_kind

if TYPE_CHECKING:
    from fusionbench.tasks import Objective

__all__ = ["TorchPredictor", "train_module"]

Log = Callable[[int, Mapping[str, float]], None]
Progress = Callable[[int, int], None]


def train_module(
    module: nn.Module,
    task: Task,
    specs: Mapping[str, ModalitySpec],
    train: CaseSet,
    val: CaseSet,
    recipe: TrainRecipe,
    *,
    seed: int,
    device: torch.device,
    log: Log,
    progress: Progress | None = None,
    before: int = 0,
) -> TorchPredictor:
    """Train `module` in place and return it as a predictor, with the weights of the best epoch if the recipe says so.

    What is random in here (order of cases, drawn instances, dropout) depends on `seed` alone, and torch's global random
    state is left as it was. On the CPU the same call gives the same bits.

    Args:
        module: maps a Batch to logits (case, n_outputs); initialised by the caller.
        train: with targets, their bins under `task.edges`.
        val: the same; where its loss is undefined all epochs are trained and the predictor's notes say so.
        log: called once an epoch, counted from `before` + 1, with train/loss (mean per unit, as trained, without L1),
            val/loss, val/c_index or val/auroc, lr (of the last step), the module's auxiliary losses under train/ and
            val/ (a mean over cases, without its weight), train/stage (from 1) where the recipe has stages and, for cox,
            train/skipped_batches; what is undefined is left out.
        progress: called after each epoch with its number and that of the last one that there may be.
        before: epochs of trainings before this one in the same cell.

    Raises:
        DataError: there is nothing to train on.
        PluginError: the module's output or an auxiliary loss has the wrong shape or name.
        FusionBenchError: a loss is not finite.
    """
    targets, val_targets = given_targets(train, "training"), given_targets(val, "validation")
    objective = task_kind(task.kind).objective(recipe, targets, task, device)
    predictor = TorchPredictor(module, task, specs, device=device, batch_size=recipe.eval_batch_size)
    asked = predictor.neighbours
    loader = CaseLoader(train, specs, device, neighbours=asked)
    val_loader = CaseLoader(val, specs, device, cache_bytes=CACHE_BYTES - loader.cached_bytes, neighbours=asked)
    # Dropout and initialisation draw from torch's global generator; a cell must not depend on the cells before it.
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(derive(seed, "training"))
        # Initialisation was the caller's: only what follows is seeded here.
        steps = _Steps(module, task, loader, objective, recipe, seed, device, reads_targets=predictor.reads_targets)
        best = BestCheckpoint(module, recipe)
        predictor.first_epoch = before + steps.stages.chosen_from
        for epoch in range(1, recipe.epochs + 1):
            with compile_limits(recipe):
                values = steps.epoch(epoch)
            with span(EVALUATE):
                values |= validate(predictor, val_loader, val_targets, objective, recipe, epoch)
            log(before + epoch, values)
            if progress is not None:
                progress(before + epoch, before + recipe.epochs)
            if epoch >= steps.stages.chosen_from and best.stop(before + epoch, values.get("val/loss", math.nan)):
                break
    steps.stages.end()
    best.restore(predictor)
    # With the restored weights and without dropout, so that what is added belongs to what is predicted.
    predictor.extra = dict(objective.after_training(lambda: predictor.logits(loader)))
    return predictor


class _Steps:
    """Optimiser steps over the training cases."""

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        loader: CaseLoader,
        objective: Objective,
        recipe: TrainRecipe,
        seed: int,
        device: torch.device,
        *,
        reads_targets: bool,
    ) -> None:
        self.module, self.run, self.task = module, training_module(module, recipe), task
        self.loader, self.objective = loader, objective
        self.recipe, self.seed, self.device, self.reads_targets = recipe, seed, device, reads_targets
        drawn_at_most = recipe.max_instances
        self.tokens = [n if drawn_at_most is None else min(n, drawn_at_most) for n in loader.tokens]
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        # A generator of its own, so that the order of cases does not depend on how much dropout a model draws.
        self.order = torch.Generator().manual_seed(derive(seed, "order"))
        self.optimizer = optimizer(parameter_groups(module, recipe), recipe)
        self.stages = Stages(module, recipe, optimizer_steps(len(loader), recipe) // recipe.epochs)
        self.lookahead = Lookahead(self.parameters, recipe)
        reached = matching(module, recipe.l1_on or ("*",), "l1_on")
        self.sparse = [p for name, p in module.named_parameters() if name in reached]
        self.scheduler = scheduler(self.optimizer, recipe, optimizer_steps(len(loader), recipe))

    def epoch(self, epoch: int) -> dict[str, float]:
        """All training cases once; the quantities to log."""
        self.stages.begin(epoch)
        formed = batches(self.loader.lengths, self.recipe.batch_size, self.order)
        usable = [(index, units) for index in formed if (units := self.objective.units(index))]
        if not usable:
            raise FusionBenchError(
                f"no batch of epoch {epoch} has {self.objective.needs}: raise train.batch_size "
                f"(now {self.recipe.batch_size})"
            )
        # Known in advance, the batches can be read while the step before is computed.
        self.loader.schedule(part for index, _ in usable for part in self._in_parts(index))
        total, width = torch.zeros((), device=self.device), self.recipe.accumulate
        losses = EpochLosses(self.module, f"training, epoch {epoch}")
        for start in range(0, len(usable), width):
            # Read before the step: the scheduler has moved on afterwards.
            rate = self.stages.factor * self.optimizer.param_groups[0]["lr"]
            total += self._step(usable[start : start + width], epoch, losses)
        losses.refuse_idle_weights()
        auxiliary = {f"train/{name}": value for name, value in losses.means().items()}
        # The only wait for a GPU in an epoch.
        loss = total.item() / sum(units for _, units in usable)
        refuse_non_finite(loss, f"the training loss of epoch {epoch}", self.recipe)
        skipped = {"train/skipped_batches": float(len(formed) - len(usable))} if self.objective.needs else {}
        return {"train/loss": loss, "lr": float(rate)} | self.stages.logged() | skipped | auxiliary

    def _step(self, window: Sequence[tuple[list[int], int]], epoch: int, losses: EpochLosses) -> Tensor:
        """One optimiser step over the window's batches; the sum of their task losses.

        The loss of a part is divided by the units of the whole window: accumulated batches, and a batch computed in
        parts, add up to the mean over all of its cases.
        """
        with span(OPTIMISER):
            self.optimizer.zero_grad()
        units, cases = sum(n for _, n in window), sum(len(index) for index, _ in window)
        total = torch.zeros((), device=self.device)
        parts = [part for formed, _ in window for part in self._in_parts(formed)]
        for index in parts:
            batch = self._batch(index, epoch)
            assert batch.targets is not None
            with span(FORWARD):
                with autocast(self.recipe, self.device):
                    # The module may compute in bfloat16; the loss, with its logarithms and exponentials, is taken in
                    # float32.
                    out = forward(self.run, as_trained_on(batch, declared=self.reads_targets), self.task)
                loss = task_loss(out, self.objective, batch.targets, len(index))
                beside = step_losses(out.step_logits, self.objective, batch.targets, len(index))
                sums = beside | losses.add(out, len(index), loss=loss, **beside)
            with span(BACKWARD):
                trained_loss(out, loss / units, sums, cases).backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
                del loss, out, sums, beside  # freeing the graph belongs here
        with span(OPTIMISER):
            # Before clipping, so that the clipped norm is that of the whole gradient.
            add_l1(self.sparse, self.recipe.l1 * self.recipe.l1_factor)
            if self.recipe.grad_clip is not None:
                nn.utils.clip_grad_norm_(self.parameters, self.recipe.grad_clip)
            with self.stages.rates(self.optimizer):
                self.optimizer.step()
            self.lookahead.step()
            self.scheduler.step()
        return total

    def _in_parts(self, index: Sequence[int]) -> list[list[int]]:
        """A batch as it is computed: whole, or in parts of at most `max_tokens` padded instances each."""
        most = self.recipe.max_tokens
        return [list(index)] if most is None else within(index, self.tokens, most)

    def _batch(self, index: Sequence[int], epoch: int) -> Batch:
        """The cases at `index` with the instances that are drawn for this epoch."""
        batch = self.loader.batch(index, lambda case: drawn(case, self.recipe, self.seed, epoch))
        return replace(batch, seed=derive(self.seed, "drawn for cases", epoch))
