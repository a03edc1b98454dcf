"""From a recipe to its optimiser, its learning-rate schedule, the L1 gradient, autocast and compiled steps."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
import torch.compiler.config as compiler_config
from torch import nn

from fusionbench.core.errors import FusionBenchError
from fusionbench.core.protocol import TrainRecipe

MOST_PROGRAMS = 64
"""Programs that one model may be compiled to. Sizes may vary within a program; what makes another one is a branch: a
modality that all, some, one or none of a batch's cases have, a batch of one case."""


def optimizer(parameters: list[nn.Parameter], recipe: TrainRecipe) -> torch.optim.Optimizer:
    """Weight decay is decoupled in adamw, and added to the gradient in the others.

    The fused kernels pass over the weights once; on a CPU they take a fraction of the time of torch's default.
    """
    lr, decay = recipe.lr, recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=True)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=lr, weight_decay=decay, fused=True)
    if recipe.optimizer == "radam":
        # torch has no fused RAdam.
        return torch.optim.RAdam(parameters, lr=lr, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=lr, weight_decay=decay, momentum=recipe.momentum, fused=True)


def import_compiler() -> None:
    """Have torch import its compiler now, which takes seconds and else happens at a process's first optimizer.

    Processes that are forked afterwards have it.
    """
    torch.optim.SGD([nn.Parameter(torch.zeros(1))])


def optimizer_steps(cases: int, recipe: TrainRecipe) -> int:
    """Steps of a whole training on so many cases; an incomplete last batch or window counts."""
    batches = math.ceil(cases / recipe.batch_size)
    return math.ceil(batches / recipe.accumulate) * recipe.epochs


def scheduler(
    optimizer: torch.optim.Optimizer, recipe: TrainRecipe, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Stepped once an optimiser step; onecycle also cycles Adam's beta1 between 0.95 and 0.85, as torch does."""
    if recipe.schedule == "onecycle":
        # A cycled momentum would override the momentum that the recipe gives SGD.
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
        parameter.grad.add_(parameter.detach().sign(), alpha=strength)  # d|w|/dw = sign(w), 0 at 0


def autocast(recipe: TrainRecipe, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 on CUDA where the recipe has it."""
    if recipe.amp and device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


def training_module(module: nn.Module, recipe: TrainRecipe) -> nn.Module:
    """What the training steps call in the place of `module`, whose weights it shares: itself, or itself compiled."""
    if not recipe.compile:
        return module
    return cast(nn.Module, torch.compile(module, dynamic=True))  # one program for bags of all lengths


@contextlib.contextmanager
def compile_limits(recipe: TrainRecipe) -> Iterator[None]:
    """Around steps that may be compiled.

    Raises:
        FusionBenchError: the model could not be compiled, or only anew for ever more kinds of batches, which torch by
            itself would answer by going on uncompiled.
    """
    if not recipe.compile:
        yield
        return
    limits = {"recompile_limit": MOST_PROGRAMS, "fail_on_recompile_limit_hit": True}
    with compiler_config.patch(limits):  # type: ignore[attr-defined]  # which every torch config module has
        try:
            yield
        except Exception as error:
            # The compiler's own errors have no public class; everything else keeps its type.
            if not type(error).__module__.startswith("torch._dynamo"):
                raise
            reason = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
            raise FusionBenchError(
                f"train.compile: torch cannot compile the model, or needs more than {MOST_PROGRAMS} programs since its "
                f"branches depend on what each batch holds ({reason}): leave train.compile out"
            ) from error
