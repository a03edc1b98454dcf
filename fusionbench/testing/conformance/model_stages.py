"""Checks of a model that is trained in stages."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.stages import Stage
from fusionbench.execution.training.stages import frozen_parts, trained_by
from fusionbench.suites.own_recipe import recipe_of
from fusionbench.testing.conformance.check import Checklist, Failure, Skipped
from fusionbench.testing.conformance.model_basics import with_own_recipe
from fusionbench.testing.conformance.samples import with_loss
from fusionbench.testing.conformance.trials import BRIEF, COX, ModelSubject, Trial

CHECKS: Checklist[ModelSubject] = Checklist()


@CHECKS.add(
    "stages",
    "What a stage of the published recipe freezes stays as it is, running statistics included, while the stage trains.",
    cause="forward changes a buffer of the module itself, whether its part is in training mode or not.",
    needs=("recipe",),
)
def stages(subject: ModelSubject) -> None:
    published = with_own_recipe(subject)
    own = recipe_of(subject.registry, published, TrainRecipe())
    if not own.stage:
        raise Skipped("its published recipe has no stages")
    for trial in subject.widest():
        for stage in own.stage:
            if moved := _moved(subject, published, trial, own, stage):
                raise Failure(f"on {trial.label}, stage {stage.name!r} freezes {moved[0]!r}, which changes in it")


def _moved(subject: ModelSubject, ref: PluginRef, trial: Trial, own: TrainRecipe, stage: Stage) -> list[str]:
    """What changes in one epoch of the stage, of what the stage freezes."""
    alone = stage.model_copy(update={"epochs": None, "warmup": 0.0})
    short = own.model_copy(update={"epochs": 1, "stage": (alone,), "restore_best": False})
    suites = COX if own.loss == "cox" else BRIEF
    fitted = subject.fitter.fit(ref, with_loss(trial.sample, own.loss), short, suites=suites)
    if fitted.module is None:
        raise Skipped("it trains no torch module with ctx.train")
    before, after = fitted.context.fresh[-1], fitted.module.module
    now = after.state_dict()
    return [name for name, value in _frozen(before, stage).items() if not torch.equal(value, now[name].cpu())]


def _frozen(module: nn.Module, stage: Stage) -> Mapping[str, Tensor]:
    """Parameters and buffers of the module that the stage freezes, by name."""
    names = [name for name, p in module.named_parameters() if p.requires_grad]
    trained = trained_by(module, stage)
    state = module.state_dict()
    kept = {name: state[name] for name in names if name not in trained}
    for prefix, part in frozen_parts(module, names, trained).items():
        kept |= {f"{prefix}.{name}": value for name, value in part.state_dict().items()}
    return kept
