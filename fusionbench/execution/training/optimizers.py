"""From a recipe to its optimiser, its learning-rate schedule, the L1 gradient, autocast and compiled steps."""

from __future__ import annotations

import contextlib
import fnmatch
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

import torch
import torch.compiler.config as compiler_config
from torch import nn

from fusionbench.core.errors import FusionBenchError
from fusionbench.core.protocol import TrainRecipe

MOST_PROGRAMS = 64
"""Programs that one model may be compiled to. Sizes may vary within a program; what makes another one is a branch: a
modality that all, some, one or none of a batch's cases have, a batch of one case."""


MOST_SHOWN = 6
"""Parameters that a message names one by one."""

Parameters = list[nn.Parameter] | list[dict[str, Any]]
"""Parameters, or groups of them with a rate and a weight decay, as torch's optimizers take them."""


def matching(module: nn.Module, patterns: Sequence[str], key: str) -> set[str]:
    """Names of the trainable parameters that the patterns of a recipe's key name, such as `group`.

    Raises:
        FusionBenchError: a pattern names none.
    """
    known = [name for name, p in module.named_parameters() if p.requires_grad]
    for pattern in patterns:
        if not fnmatch.filter(known, pattern):
            raise FusionBenchError(
                f"train.{key}: {pattern!r} names no parameter of {type(module).__name__}; it has {_shown(known)}"
            )
    return {name for pattern in patterns for name in fnmatch.filter(known, pattern)}


def _shown(names: Sequence[str]) -> str:
    """Parameters for a message: each of a few, of many the parts that they belong to."""
    if len(names) <= MOST_SHOWN:
        return ", ".join(names)
    parts = Counter(name.partition(".")[0] + (".*" if "." in name else "") for name in names)
    return ", ".join(part if count == 1 else f"{part} ({count})" for part, count in parts.items())


def parameter_groups(module: nn.Module, recipe: TrainRecipe) -> Parameters:
    """The trainable parameters: those of the recipe's groups with their rates and weight decays, after the others.

    Raises:
        FusionBenchError: a group names no parameter.
    """
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not recipe.group and recipe.decay_on == "all":
        return [p for _, p in named]
    of_groups = [matching(module, group.parameters, "group") for group in recipe.group]
    groups: dict[tuple[int, float], dict[str, Any]] = {}
    for name, parameter in named:
        own = next((i for i, names in enumerate(of_groups) if name in names), -1)
        lr, decay = (recipe.group[own].lr, recipe.group[own].weight_decay) if own >= 0 else (None, None)
        if decay is None:
            decay = 0.0 if recipe.decay_on == "matrices" and parameter.ndim < 2 else recipe.weight_decay
        settings = {"params": [], "lr": recipe.lr if lr is None else lr, "weight_decay": decay}
        groups.setdefault((own, decay), settings)["params"].append(parameter)
    return [groups[key] for key in sorted(groups, key=lambda key: key[0])]


def optimizer(parameters: Parameters, recipe: TrainRecipe) -> torch.optim.Optimizer:
    """Weight decay is decoupled in adamw and radamw, and added to the gradient in the others.

    The fused kernels pass over the weights once; on a CPU they take a fraction of the time of torch's default.
    """
    lr, decay, betas = recipe.lr, recipe.weight_decay, recipe.betas or (0.9, 0.999)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, betas=betas, weight_decay=decay, fused=True)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=lr, betas=betas, weight_decay=decay, fused=True)
    if recipe.optimizer in ("radam", "radamw"):
        # torch has no fused RAdam.
        decoupled = recipe.optimizer == "radamw"
        return torch.optim.RAdam(parameters, lr, betas, weight_decay=decay, decoupled_weight_decay=decoupled)
    # The fused kernel wants a momentum of all parameters or of none; stages begin to train some later.
    fused = not recipe.stage
    return torch.optim.SGD(parameters, lr=lr, weight_decay=decay, momentum=recipe.momentum, fused=fused)


class Lookahead:
    """Slow weights, which every few steps move towards the trained ones; these go on from there.

    Source: Zhang et al. 2019. What is validated and kept between two such steps are the trained weights.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], recipe: TrainRecipe) -> None:
        self.parameters, self.every, self.rate = parameters, recipe.lookahead, recipe.lookahead_rate
        self.steps, self.slow = 0, list[torch.Tensor]()
        if self.every is not None and recipe.lookahead_start == "initial":
            self._keep()

    def _keep(self) -> None:
        self.slow = [parameter.detach().clone() for parameter in self.parameters]

    def step(self) -> None:
        """After a step of the optimizer; nothing where the recipe has no lookahead."""
        self.steps += 1
        if self.every is None or self.steps % self.every:
            return
        if not self.slow:
            self._keep()
        with torch.no_grad():
            for slow, fast in zip(self.slow, self.parameters, strict=True):
                if not fast.requires_grad:  # frozen in this stage
                    continue
                slow.lerp_(fast, self.rate)
                fast.copy_(slow)


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
        # A cycled momentum would override the momentum or betas that the recipe gives.
        cycle = recipe.optimizer != "sgd" and recipe.betas is None
        rates = [group["lr"] for group in optimizer.param_groups]
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, cycle_momentum=cycle)
    if recipe.warmup or recipe.hold or recipe.schedule == "linear":
        return torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate_factor, recipe=recipe, steps=steps))
    if recipe.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def rate_factor(step: int, *, recipe: TrainRecipe, steps: int) -> float:
    """Of the rate at a step, counted from 0, of so many: warm-up, hold, then the fall to zero."""
    warm, high = (round(epochs * steps / recipe.epochs) for epochs in (recipe.warmup, recipe.warmup + recipe.hold))
    if step < warm:
        return step / warm
    if step < high or recipe.schedule == "constant":
        return 1.0
    done = (step - high) / max(steps - high, 1)
    return (1 + math.cos(math.pi * done)) / 2 if recipe.schedule == "cosine" else 1 - done


def add_l1(parameters: Sequence[nn.Parameter], strength: float) -> None:
    """Add the gradient of strength x sum |parameter|, biases and norms included."""
    if strength == 0:
        return
    for parameter in parameters:
        if not parameter.requires_grad:  # frozen in this stage
            continue
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
