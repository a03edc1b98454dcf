"""The one torch training loop; models reach it as `ctx.train`.

The loss of an optimiser step is a mean over units: cases for `nll` and `ce`, events (or cases) for `cox`. Accumulated
batches share that mean, so that two batches of 8 make the same step as one of 16, and an incomplete last window is a
step of its own. Early stopping sees the exact negative log-likelihood of the validation cases, without class weights
and with alpha 0, whatever the training loss is (unless the recipe asks for the loss as trained); for `cox` it sees the
partial likelihood over all validation cases.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fusionbench import survival
from fusionbench.bags import batches, subsample
from fusionbench.clock import BACKWARD, EVALUATE, FORWARD, OPTIMISER, span
from fusionbench.errors import DataError, FusionBenchError
from fusionbench.feed import CACHE_BYTES, CaseFeed
from fusionbench.predictor import TorchPredictor, forward
from fusionbench.protocol import TrainRecipe
from fusionbench.seeds import derive
from fusionbench.types import CaseSet, ModalitySpec, PreparedCase, SurvivalTargets, Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Targets = SurvivalTargets[NDArray[Any]]

__all__ = ["TorchPredictor", "train_module"]

Log = Callable[[int, Mapping[str, float]], None]
Progress = Callable[[int], None]


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
) -> TorchPredictor:
    """Train `module` in place and return it as a predictor, with the weights of the best epoch if the recipe says so.

    What is random in here (order of cases, drawn instances, dropout) depends on `seed` alone, and torch's global random
    state is left as it was. On the CPU the same call gives the same bits.

    Args:
        module: maps a Batch to logits (case, n_outputs); initialised by the caller.
        train: with targets, their bins under `task.edges`.
        val: the same; where its loss is undefined all epochs are trained and the predictor's notes say so.
        log: called once an epoch, counted from 1, with train/loss (mean per unit, as trained, without L1), val/loss,
            val/c_index, lr (of the last step) and, for cox, train/skipped_batches; what is undefined is left out.
        progress: called with the epoch after each epoch.

    Raises:
        DataError: there is nothing to train on.
        PluginError: the module's output has the wrong shape.
        FusionBenchError: a loss is not finite.
    """
    targets, val_targets = _targets(train, "training"), _targets(val, "validation")
    _check(recipe, task, targets)
    predictor = TorchPredictor(module, task, specs, device=device, batch_size=recipe.eval_batch_size)
    feed = CaseFeed(train, specs, device)
    val_feed = CaseFeed(val, specs, device, budget=CACHE_BYTES - feed.held)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(derive(seed, "training"))
        steps = _Steps(module, task, feed, targets, recipe, seed, device)
        kept = _Kept(module, recipe)
        for epoch in range(1, recipe.epochs + 1):
            values = steps.epoch(epoch)
            with span(EVALUATE):
                values |= _validate(predictor, val_feed, val_targets, steps.objective, epoch)
            log(epoch, values)
            if progress is not None:
                progress(epoch)
            if kept.see(epoch, values.get("val/loss", math.nan)):
                break
    predictor.best_epoch, predictor.validation_loss = kept.settle()
    predictor.notes = tuple(getattr(module, "notes", ()))
    if math.isnan(predictor.validation_loss):
        undefined = f"the {recipe.loss} loss is undefined on the validation cases: all epochs were trained"
        predictor.notes = (*predictor.notes, undefined)
    if recipe.loss == "cox":
        risk = predictor.logits(feed)[:, 0].numpy()
        predictor.baseline = survival.breslow_baseline(risk, targets.time, targets.event)
    return predictor


class _Steps:
    """Optimiser steps over the training cases."""

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        feed: CaseFeed,
        targets: Targets,
        recipe: TrainRecipe,
        seed: int,
        device: torch.device,
    ) -> None:
        self.module, self.task, self.feed, self.targets = module, task, feed, targets
        self.recipe, self.seed, self.device = recipe, seed, device
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.objective = _Objective.of(recipe, targets, task, device)
        self.order = torch.Generator().manual_seed(derive(seed, "order"))
        self.optimizer = _optimizer(self.parameters, recipe)
        windows = math.ceil(math.ceil(len(feed) / recipe.batch_size) / recipe.accumulate)
        self.scheduler = _scheduler(self.optimizer, recipe, windows * recipe.epochs)

    def epoch(self, epoch: int) -> dict[str, float]:
        """All training cases once; the quantities to log."""
        self.module.train()
        formed = batches(self.feed.lengths, self.recipe.batch_size, self.order)
        usable = [(index, units) for index in formed if (units := self.objective.units(self.targets, index))]
        if not usable:
            raise FusionBenchError(
                f"no batch of epoch {epoch} has two cases and an observed event, which the cox loss needs: "
                f"raise train.batch_size (now {self.recipe.batch_size})"
            )
        self.feed.coming(index for index, _ in usable)
        total, width = torch.zeros((), device=self.device), self.recipe.accumulate
        for start in range(0, len(usable), width):
            rate = self.optimizer.param_groups[0]["lr"]
            total += self._step(usable[start : start + width], epoch)
        loss = total.item() / sum(units for _, units in usable)
        _refuse_non_finite(loss, f"the training loss of epoch {epoch}", self.recipe)
        skipped = {"train/skipped_batches": float(len(formed) - len(usable))} if self.recipe.loss == "cox" else {}
        return {"train/loss": loss, "lr": float(rate)} | skipped

    def _step(self, window: Sequence[tuple[list[int], int]], epoch: int) -> Tensor:
        """One optimiser step over the window's batches; the sum of their losses."""
        with span(OPTIMISER):
            self.optimizer.zero_grad()
        units = sum(n for _, n in window)
        total = torch.zeros((), device=self.device)
        for index, _ in window:
            batch = self.feed.batch(index, lambda case: self._draw(case, epoch))
            assert batch.targets is not None
            with span(FORWARD):
                with self._autocast():
                    logits = forward(self.module, batch, self.task)
                loss = self.objective(logits.float(), batch.targets)
            with span(BACKWARD):
                (loss / units).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        with span(OPTIMISER):
            _add_l1(self.parameters, self.recipe.l1 * self.recipe.l1_factor)
            if self.recipe.grad_clip is not None:
                nn.utils.clip_grad_norm_(self.parameters, self.recipe.grad_clip)
            self.optimizer.step()
            self.scheduler.step()
        return total

    def _draw(self, case: PreparedCase, epoch: int) -> PreparedCase:
        """The case with at most max_instances of each bag; which ones depends on seed, epoch, case and modality."""
        most = self.recipe.max_instances
        if most is None:
            return case
        bags = {}
        for name, bag in case.bags.items():
            seed = derive(self.seed, "instances", epoch, case.id, name)
            bags[name] = subsample(bag, most, torch.Generator().manual_seed(seed)) if len(bag.values) > most else bag
        return PreparedCase(case.id, bags)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.recipe.amp and self.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return contextlib.nullcontext()


@dataclass(frozen=True)
class _Objective:
    """The training loss as a sum over units, so that accumulated batches can share one mean."""

    recipe: TrainRecipe
    weights: Tensor

    @classmethod
    def of(cls, recipe: TrainRecipe, targets: Targets, task: Task, device: torch.device) -> _Objective:
        """With class weights of the training targets."""
        weights = survival.class_weights(targets.time_bin, task.n_outputs, recipe.class_weights)
        if recipe.weight_sum == "one":
            weights = weights / weights.sum()
        return cls(recipe, torch.tensor(weights, dtype=torch.float32, device=device))

    def units(self, targets: Targets, index: Sequence[int]) -> int:
        """How many units these cases make together; 0 = nothing to learn from."""
        if self.recipe.loss != "cox":
            return len(index)
        events = int(targets.event[index].sum())
        if len(index) < 2 or events == 0:
            return 0
        return events if self.recipe.cox_reduction == "events" else len(index)

    def __call__(self, logits: Tensor, targets: SurvivalTargets[Tensor]) -> Tensor:
        r, t = self.recipe, targets
        if r.loss == "cox":
            # the mean over cases times their number: the sum, whichever of the two reductions the step takes
            return len(t.event) * survival.cox_partial_likelihood(logits[:, 0], t.time, t.event, reduction="cases")
        if r.loss == "ce":
            ce = survival.cross_entropy_survival
            return ce(logits, t.time_bin, t.event, alpha=r.alpha, clamp=r.clamp, weights=self.weights).sum()
        return survival.discrete_hazard_nll(
            logits,
            t.time_bin,
            t.event,
            alpha=r.alpha,
            clamp=r.clamp,
            weights=self.weights,
            weight_on=r.weight_on,
        ).sum()


class _Kept:
    """The weights to keep, and when to stop."""

    def __init__(self, module: nn.Module, recipe: TrainRecipe) -> None:
        self.module, self.recipe = module, recipe
        self.best: tuple[int, float] | None = None
        self.last = (0, math.nan)
        self.weights: dict[str, Tensor] = {}

    def see(self, epoch: int, loss: float) -> bool:
        """Take note of an epoch's validation loss (NaN = undefined); True = stop."""
        self.last = (epoch, loss)
        if math.isnan(loss):
            return False
        if self.best is None or loss < self.best[1]:
            self.best = self.last
            if self.recipe.restore_best:
                # clones: a state dict holds the live tensors, which training goes on changing
                self.weights = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        return self.recipe.patience is not None and epoch - self.best[0] >= self.recipe.patience

    def settle(self) -> tuple[int, float]:
        """Put the kept weights back; their epoch and validation loss."""
        if self.best is None or not self.recipe.restore_best:
            return self.last
        self.module.load_state_dict(self.weights)
        return self.best


def _validate(
    predictor: TorchPredictor, feed: CaseFeed, targets: Targets, objective: _Objective, epoch: int
) -> dict[str, float]:
    """val/loss and val/c_index, as far as they are defined."""
    recipe = objective.recipe
    if len(feed) == 0:
        return {}
    try:
        logits = predictor.logits(feed)
    except FusionBenchError as error:
        raise FusionBenchError(f"validation after epoch {epoch}: {error}") from error
    time, event, time_bin = (torch.tensor(x) for x in (targets.time, targets.event, targets.time_bin))
    if recipe.loss == "cox":
        risk = logits[:, 0]
        if len(risk) < 2 or not bool(event.any()):
            return {}
        loss = survival.cox_partial_likelihood(risk, time, event, reduction=recipe.cox_reduction)
    else:
        risk = survival.risk_from_survival(survival.hazards_to_survival(logits))
        loss = _validation_loss(logits, SurvivalTargets(time, event, time_bin), objective)
    _refuse_non_finite(loss.item(), f"the validation loss of epoch {epoch}", recipe)
    return {"val/loss": loss.item()} | _c_index(targets, risk.numpy())


def _validation_loss(logits: Tensor, targets: SurvivalTargets[Tensor], objective: _Objective) -> Tensor:
    """Mean over the cases; exact and unweighted, or as trained."""
    if objective.recipe.validation_loss == "as-trained":
        return replace(objective, weights=objective.weights.cpu())(logits, targets) / len(logits)
    return survival.discrete_hazard_nll(logits, targets.time_bin, targets.event).mean()


def _c_index(targets: Targets, risk: NDArray[np.float64]) -> dict[str, float]:
    from sksurv.exceptions import NoComparablePairException
    from sksurv.metrics import concordance_index_censored

    if len(risk) < 2 or not targets.event.any():
        return {}
    try:
        return {"val/c_index": float(concordance_index_censored(targets.event, targets.time, risk)[0])}
    except NoComparablePairException:
        return {}


def _optimizer(parameters: list[nn.Parameter], recipe: TrainRecipe) -> torch.optim.Optimizer:
    """Weight decay is decoupled in adamw, and added to the gradient in the others."""
    lr, decay = recipe.lr, recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=True)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=lr, weight_decay=decay, fused=True)
    if recipe.optimizer == "radam":
        return torch.optim.RAdam(parameters, lr=lr, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=lr, weight_decay=decay, momentum=recipe.momentum, fused=True)


def _scheduler(
    optimizer: torch.optim.Optimizer, recipe: TrainRecipe, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Stepped once an optimiser step; onecycle also cycles Adam's beta1 between 0.95 and 0.85, as torch does."""
    if recipe.schedule == "onecycle":
        cycle = recipe.optimizer != "sgd"
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=steps, cycle_momentum=cycle)
    if recipe.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def _add_l1(parameters: Sequence[nn.Parameter], strength: float) -> None:
    """Add the gradient of strength x sum |parameter|, biases and norms included."""
    if strength == 0:
        return
    for parameter in parameters:
        sign = parameter.detach().sign()
        if parameter.grad is None:
            parameter.grad = strength * sign
        else:
            parameter.grad.add_(sign, alpha=strength)


def _targets(cases: CaseSet, what: str) -> Targets:
    if cases.targets is None:
        raise DataError(f"the {what} cases have no targets")
    return cases.targets


def _check(recipe: TrainRecipe, task: Task, targets: Targets) -> None:
    if len(targets.time) == 0:
        raise DataError("there is no training case")
    if recipe.loss != "cox":
        return
    if task.n_outputs != 1:
        raise ValueError(f"loss 'cox' takes a task with one output, got {task.n_outputs}")
    if not targets.event.any():
        raise DataError(f"none of the {len(targets.time)} training cases has an observed event, which loss 'cox' needs")


def _refuse_non_finite(loss: float, what: str, recipe: TrainRecipe) -> None:
    if not math.isfinite(loss):
        raise FusionBenchError(f"{what} is {loss}: lower train.lr (now {recipe.lr}) or set train.grad_clip")
