"""A sound model with auxiliary losses, steps and targets, and copies of it with one defect each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

import fusionbench
from fusionbench import Batch, Outputs, Stage, Steps
from tests.conformance.broken import Net, Sound, fails


class NetOfSteps(Net):
    """The sound network, which also says what it thinks after each modality, and two losses of a linear layer."""

    reads_targets = True

    def __init__(self, task: Any, specs: Any) -> None:
        super().__init__(task, specs)
        self.guess = nn.Linear(specs["omic"].dim, 1)

    def forward(self, batch: Batch) -> Outputs:
        parts = torch.stack([self.part(batch.bags[name], name) for name in self.layers], dim=1)
        taken = torch.stack([batch.bags[name].present for name in self.layers], dim=1)
        steps = Steps(tuple(self.layers), self.after(parts), taken)
        return Outputs(parts.sum(dim=1), self.losses(batch), {"size": 0.1}, step_logits=steps)

    def after(self, parts: Tensor) -> Tensor:
        return parts.cumsum(dim=1)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        guess = self.guess(self.pool(batch.bags["omic"]))[:, 0]
        size = {"size": guess.square().mean()}
        if batch.targets is None:
            return size
        return {**size, "guess": (guess - self.label(batch)).square()}

    def label(self, batch: Batch) -> Tensor:
        return batch.targets.event.float()  # type: ignore[union-attr]


class Stepping(Sound):
    """Losses and steps as they should be."""

    name = "stepping"
    network = NetOfSteps


class _Summed(NetOfSteps):
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {name: loss / len(batch.ids) for name, loss in super().losses(batch).items()}


@fails("losses-are-means")
class DividesByTheBatch(Sound):
    """Its losses are divided by the number of cases, once more."""

    network = _Summed


class _Centred(NetOfSteps):
    def after(self, parts: Tensor) -> Tensor:
        return super().after(parts) - parts.mean(dim=0)


@fails("steps")
class MixesSteps(Sound):
    """What it says after a step depends on the other cases of the batch."""

    network = _Centred


class _Undeclared(NetOfSteps):
    reads_targets = False


@fails("targets-declared")
class ReadsUndeclared(Sound):
    """Has a loss of targets which it will never be given."""

    network = _Undeclared


class _InVain(NetOfSteps):
    def label(self, batch: Batch) -> Tensor:
        return torch.zeros(len(batch.ids))


@fails("targets-declared")
class DeclaresInVain(Sound):
    """Declares that it reads targets, and does not."""

    network = _InVain


class Published(Sound):
    """With a recipe of its own, on demand."""

    name = "published"
    own: Mapping[str, Any] = {
        "optimizer": "radamw",
        "betas": (0.5, 0.99),
        "lookahead": 2,
        "group": [{"parameters": ["layers.omic.*"], "lr": 1e-4}],
        "warmup": 1,
        "l1": 1e-5,
        "l1_on": ["layers.image.weight"],
    }
    parts: tuple[Stage, ...] = (Stage(name="omic alone", epochs=2, train=("layers.omic.*",)), Stage(name="both"))

    class Options(fusionbench.Options):
        """recipe: `suite`, or `own` for the published one."""

        recipe: Literal["suite", "own"] = "suite"

    def recipe(self) -> Mapping[str, Any]:
        return self.own if self.options.recipe == "own" else {}  # type: ignore[attr-defined]

    def stages(self) -> tuple[Stage, ...]:
        return self.parts if self.options.recipe == "own" else ()  # type: ignore[attr-defined]


@fails("recipe")
class OwnByDefault(Published):
    """Is trained in its own way, whether it is asked to be or not."""

    def recipe(self) -> Mapping[str, Any]:
        return self.own


@fails("recipe")
class OwnIsTheSuites(Published):
    """Promises a recipe that it does not have."""

    own: Mapping[str, Any] = {}
    parts = ()


@fails("recipe")
class MisspeltRecipe(Published):
    """A key that there is not."""

    own: Mapping[str, Any] = {"optimiser": "sgd"}


@fails("recipe")
class RecipeOfNoParameter(Published):
    """A rate for a layer that there is not."""

    own: Mapping[str, Any] = {"group": [{"parameters": ["factors.*"], "lr": 1e-3}]}


@fails("recipe")
class StageOfNoParameter(Published):
    """A stage for a layer that there is not."""

    parts = (Stage(name="trunk", epochs=2, frozen=("trunk.*",)), Stage(name="both"))


class _Counting(nn.Linear):
    """Counts the cases that it has learnt from, or has not."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__(width, outputs)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, values: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.seen += len(values)
        return super().forward(values)


class _CountingNet(Net):
    def __init__(self, task: Any, specs: Any) -> None:
        super().__init__(task, specs)
        self.layers = nn.ModuleDict({name: _Counting(spec.dim, task.n_outputs) for name, spec in specs.items()})
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


@fails("stages")
class FrozenInNameOnly(Published):
    """A frozen layer goes on counting."""

    network = _CountingNet
