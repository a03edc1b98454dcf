"""The stages of a training at work: which parameters train in an epoch, how frozen parts compute, and the rates.

One optimizer goes through all stages: what trains on keeps its state, what begins to train begins with none. A frozen
parameter has no gradient, so that neither decay nor momentum, L1 or Lookahead moves it. A frozen part is a submodule
all of whose trainable parameters are frozen: it computes as in evaluation, without dropout and with its running
statistics as they are, unless its stage lets dropout go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager

import torch
from torch import nn

from fusionbench.core.cell_result import STAGE
from fusionbench.core.errors import FusionBenchError
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.stages import Stage
from fusionbench.execution.training.optimizers import matching


class Stages:
    """The stages of one module's training; without any in the recipe, all parameters train in all epochs.

    Raises:
        FusionBenchError: a stage names no parameter, or trains none.
    """

    def __init__(self, module: nn.Module, recipe: TrainRecipe, steps: int) -> None:
        """`steps`: of the optimizer, in an epoch."""
        self.module, self.recipe, self.steps = module, recipe, steps
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.trained = [trained_by(module, stage) for stage in recipe.stage]
        self.dropping = [matching(module, s.frozen_dropout, f"stage {s.name!r}") for s in recipe.stage]
        self.number, self.done = 0, 0

    @property
    def chosen_from(self) -> int:
        """The first epoch of the last stage, whose best weights are kept."""
        return max(epoch for epoch in self.recipe.stage_begins if epoch <= self.recipe.epochs)

    def begin(self, epoch: int) -> None:
        """Put the module into training mode, its frozen parts apart."""
        self.module.train()
        if not self.recipe.stage:
            return
        if epoch in self.recipe.stage_begins:
            self.number, self.done = self.recipe.stage_begins.index(epoch), 0
            for name, parameter in self.parameters.items():
                parameter.requires_grad = name in self.trained[self.number]
                parameter.grad = None
        # Outer parts come first: the dropout of a part within a part that computes as in evaluation may go on.
        for prefix, part in frozen_parts(self.module, self.parameters, self.trained[self.number]).items():
            on = parameters_of(prefix, self.parameters) <= self.dropping[self.number]
            for submodule in part.modules():
                submodule.training = on and not _has_statistics(submodule)

    @property
    def factor(self) -> float:
        """Of all rates at the step that comes."""
        if not self.recipe.stage:
            return 1.0
        stage = self.recipe.stage[self.number]
        warm = round(stage.warmup * self.steps)
        return stage.lr_factor * (self.done / warm if self.done < warm else 1.0)

    @contextmanager
    def rates(self, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Around one step: the schedule's rates times the stage's factor; the schedule goes on from its own."""
        kept, factor = [group["lr"] for group in optimizer.param_groups], self.factor
        for group in optimizer.param_groups if factor != 1 else ():
            group["lr"] = factor * group["lr"]
        yield
        for group, rate in zip(optimizer.param_groups, kept, strict=True):
            group["lr"] = rate
        self.done += 1

    def logged(self) -> dict[str, float]:
        """The number of the stage, from 1; nothing where there are none."""
        return {f"train/{STAGE}": self.number + 1.0} if self.recipe.stage else {}

    def end(self) -> None:
        """All parameters that the module came with to train can be trained again."""
        for parameter in self.parameters.values():
            parameter.requires_grad = True


def frozen_parts(module: nn.Module, names: Iterable[str], trained: Set[str]) -> dict[str, nn.Module]:
    """Submodules by name of which nothing is trained now.

    Args:
        names: of the parameters that the module came with to train; parts without any are not frozen by a stage.
        trained: those of them that train now.
    """
    found = {}
    for prefix, part in module.named_modules():
        own = parameters_of(prefix, names)
        if own and not own & trained:
            found[prefix] = part
    return found


def parameters_of(prefix: str, names: Iterable[str]) -> set[str]:
    """Those of the names that belong to a submodule."""
    return {name for name in names if not prefix or name.startswith(f"{prefix}.")}


def trained_by(module: nn.Module, stage: Stage) -> set[str]:
    """Names of the parameters that the stage trains.

    Raises:
        FusionBenchError: a pattern of the stage names no parameter, or no parameter is left to train.
    """
    key = f"stage {stage.name!r}"
    trained = matching(module, stage.train, key) - matching(module, stage.frozen, key)
    if not trained:
        raise FusionBenchError(f"train.{key}: its frozen parameters are all that there are: it trains nothing")
    return trained


def _has_statistics(part: nn.Module) -> bool:
    """Whether a part has buffers of its own, such as running statistics; dropout, attention and an LSTM have none."""
    return any(True for _ in part.buffers(recurse=False))
