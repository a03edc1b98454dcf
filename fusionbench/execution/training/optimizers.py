"""From a recipe to its optimiser, its schedule, and what is added to a gradient."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from fusionbench.core.protocol import TrainRecipe
from fusionbench.execution.training.adam import Adam


def optimizer(parameters: list[nn.Parameter], recipe: TrainRecipe) -> torch.optim.Optimizer:
    """Weight decay is decoupled in adamw, and added to the gradient in the others."""
    lr, decay = recipe.lr, recipe.weight_decay
    if recipe.optimizer in ("adam", "adamw"):
        return Adam(parameters, lr, decay, decoupled=recipe.optimizer == "adamw")
    if recipe.optimizer == "radam":
        return torch.optim.RAdam(parameters, lr=lr, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=lr, weight_decay=decay, momentum=recipe.momentum, fused=True)


def optimizer_steps(cases: int, recipe: TrainRecipe) -> int:
    """Steps of a whole training on so many cases; an incomplete last batch or window counts."""
    batches = math.ceil(cases / recipe.batch_size)
    return math.ceil(batches / recipe.accumulate) * recipe.epochs


def scheduler(
    optimizer: torch.optim.Optimizer, recipe: TrainRecipe, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Stepped once an optimiser step; onecycle also cycles Adam's beta1 between 0.95 and 0.85, as torch does."""
    if recipe.schedule == "onecycle":
        cycle = recipe.optimizer != "sgd"
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=steps, cycle_momentum=cycle)
    if recipe.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def add_l1(parameters: Sequence[nn.Parameter], strength: float) -> None:
    """Add the gradient of strength x sum |parameter|, biases and norms included."""
    if strength == 0:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    torch._foreach_add_(gradients, torch._foreach_sign([p.detach() for p in parameters]), alpha=strength)


def autocast(recipe: TrainRecipe, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 on CUDA where the recipe has it."""
    if recipe.amp and device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()
