"""torch.compile for the steps of a training, and its limits said in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import cast

import torch
from torch import nn

from fusionbench.core.errors import FusionBenchError
from fusionbench.core.protocol import TrainRecipe

KINDS = 64
"""Programs that one model may be compiled to. Sizes may vary within a program; what makes another one is a branch: a
modality that all, some, one or none of a batch's cases have, a batch of one case."""


def stepped(module: nn.Module, recipe: TrainRecipe) -> nn.Module:
    """What the steps call in the place of `module`, whose weights it shares: itself, or itself compiled."""
    if not recipe.compile:
        return module
    return cast(nn.Module, torch.compile(module, dynamic=True))  # one program for bags of all lengths


@contextlib.contextmanager
def compiling(recipe: TrainRecipe) -> Iterator[None]:
    """Around steps that may be compiled.

    Raises:
        FusionBenchError: the model could not be compiled, or only anew for ever more kinds of batches, which torch by
            itself would answer by going on uncompiled.
    """
    if not recipe.compile:
        yield
        return
    import torch._dynamo as dynamo  # heavy, and nobody else needs it

    with dynamo.config.patch(recompile_limit=KINDS, fail_on_recompile_limit_hit=True):
        try:
            yield
        except dynamo.exc.FailOnRecompileLimitHit:
            raise FusionBenchError(
                f"train.compile: the model asks for more than {KINDS} programs, since its branches depend on what each "
                "batch holds: leave train.compile out"
            ) from None
        except dynamo.exc.TorchDynamoException as error:
            reason = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
            raise FusionBenchError(f"train.compile: torch cannot compile the model ({reason}): leave it out") from error
