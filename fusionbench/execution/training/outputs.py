"""What a module made of a batch, held against what it promises, and its auxiliary losses over an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from numbers import Real

import torch
from torch import Tensor, nn

from fusionbench.core.cell_result import OWN_QUANTITIES
from fusionbench.core.errors import FusionBenchError, PluginError
from fusionbench.core.outputs import NAME
from fusionbench.core.types import Batch, Outputs, Steps, Targets, Task
from fusionbench.tasks import Objective
from fusionbench.tasks.parts import mean_of_parts, parts_beside

LOSS, STEPS = "loss", "steps"
"""The task's own loss of the logits, and of the logits after each step; a module may weigh both."""


def wide(values: Tensor) -> Tensor:
    """In float32 at least, as losses are computed."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def name_of(module: nn.Module) -> str:
    """The name of a module's class; torch.compile wraps it."""
    return type(getattr(module, "_orig_mod", module)).__name__


def forward(module: nn.Module, batch: Batch, task: Task) -> Outputs:
    """What a module makes of a batch, with logits (case, n_outputs).

    Raises:
        PluginError: it is neither logits nor Outputs, or logits, steps or embedding have another shape.
    """
    made = module(batch)
    cases, who = len(batch.ids), name_of(module)
    if not isinstance(made, (Tensor, Outputs)):
        raise PluginError(f"{who} returned {type(made).__name__}, expected logits, a tensor, or fusionbench.Outputs")
    out = made if isinstance(made, Outputs) else Outputs(made)
    if out.parts is None:
        _refuse_shape(out.logits, (cases, task.n_outputs), f"{who} returned logits", "(case, n_outputs)")
    else:
        _check_parts(out, out.parts, cases, task, who)
    if out.step_logits is not None:
        _check_steps(out.step_logits, cases, task, who)
    if out.embedding is not None and (out.embedding.ndim != 2 or len(out.embedding) != cases):
        raise PluginError(f"{who}: embedding has shape {tuple(out.embedding.shape)}, expected ({cases}, feature)")
    return out


def reads_targets(module: nn.Module) -> bool:
    """Whether a module declares that it reads the targets of training batches."""
    return bool(getattr(module, "reads_targets", False))


def neighbours_of(module: nn.Module) -> int:
    """How many neighbours of each instance a module asks for; 0 = none.

    Raises:
        PluginError: it asks for no whole number.
    """
    asked = getattr(module, "neighbours", 0)
    if not isinstance(asked, int) or isinstance(asked, bool) or asked < 0:
        raise PluginError(f"{name_of(module)}: neighbours is {asked!r}, expected how many of each instance, such as 8")
    return asked


def as_trained_on(batch: Batch, *, declared: bool) -> Batch:
    """A training batch as a module is given it: with targets of its own to read, or without any."""
    if not declared or batch.targets is None:
        return replace(batch, targets=None)
    # A copy: what the module does to them must not reach the task's loss.
    return replace(batch, targets=batch.targets.map(torch.clone))


def _refuse_shape(values: Tensor, expected: tuple[int, ...], what: str, axes: str) -> None:
    if tuple(values.shape) != expected:
        raise PluginError(f"{what} of shape {tuple(values.shape)}, expected {axes} = {expected}")


def _check_parts(out: Outputs, parts: Tensor, cases: int, task: Task, who: str) -> None:
    _refuse_shape(out.logits, (len(parts), task.n_outputs), f"{who} returned logits", "(part, n_outputs)")
    if parts.dtype != torch.int64 or parts.ndim != 1 or set(parts.tolist()) != set(range(cases)):
        raise PluginError(
            f"{who}: parts must be an int64 tensor (part,) of positions of the {cases} cases, each at least once"
        )
    if out.step_logits is not None:
        raise PluginError(f"{who}: returned parts and step_logits; steps are of cases, not of parts: leave one out")


def _check_steps(steps: Steps, cases: int, task: Task, who: str) -> None:
    shape = (cases, len(steps.names))
    if not steps.names or len(set(steps.names)) < len(steps.names) or not all(map(NAME.fullmatch, steps.names)):
        raise PluginError(
            f"{who}: steps are named {steps.names}; each needs a name of its own, of letters, digits, _ . -"
        )
    _refuse_shape(steps.logits, (*shape, task.n_outputs), f"{who}: step_logits", "(case, step, n_outputs)")
    _refuse_shape(steps.taken, shape, f"{who}: the mask of steps taken is", "(case, step)")
    if steps.taken.dtype != torch.bool:
        raise PluginError(f"{who}: the mask of steps taken has type {steps.taken.dtype}, expected bool")


class EpochLosses:
    """The auxiliary losses of one epoch's batches.

    Attributes:
        who: the module, as messages name it.
        where: `training` or `validation`, and the epoch.
    """

    def __init__(self, module: nn.Module, where: str) -> None:
        self.who, self.where = name_of(module), where
        self.sums: list[dict[str, Tensor]] = []
        self.cases = 0
        self.weighted: set[str] = set()

    def add(self, out: Outputs, cases: int, **own: Tensor) -> dict[str, Tensor]:
        """Each loss of a batch, summed over its cases; `own` are sums of the task's losses, which come beside.

        Raises:
            PluginError: a loss has a name or a shape that it cannot have, a weight is no number.
        """
        self._check_names(out.losses)
        sums = {name: self._sum(name, loss, cases) for name, loss in out.losses.items()}
        self.sums.append({name: value.detach() for name, value in (own | sums).items()})
        self.cases += cases
        for name, weight in out.weights.items():
            if not isinstance(weight, Real) or not math.isfinite(weight):
                raise PluginError(f"{self.who}: the weight of auxiliary loss {name!r} is {weight}, expected a number")
        self.weighted |= out.weights.keys()
        return sums

    def _check_names(self, losses: Mapping[str, object]) -> None:
        seen: dict[str, str] = {}
        for name in losses:
            if not isinstance(name, str) or not NAME.fullmatch(name):
                raise PluginError(
                    f"{self.who}: auxiliary loss {name!r} needs a name of letters, digits, _ . - that begins with a "
                    "letter"
                )
            if name.lower() in {*OWN_QUANTITIES, STEPS}:
                raise PluginError(
                    f"{self.who}: auxiliary loss {name!r} has the name of a quantity of the history; give it another"
                )
            if (before := seen.setdefault(name.lower(), name)) != name:
                raise PluginError(f"{self.who}: auxiliary loss {name!r} repeats the name {before!r}; give it another")

    def _sum(self, name: str, loss: Tensor, cases: int) -> Tensor:
        """Over the cases of the batch; a scalar is their mean."""
        shape = tuple(loss.shape) if isinstance(loss, Tensor) else None
        if shape == (cases,):
            return wide(loss).sum()
        if shape == ():
            return wide(loss) * cases
        seen = type(loss).__name__ if shape is None else f"shape {shape}"
        raise PluginError(
            f"{self.who}: auxiliary loss {name!r} has {seen}, expected a tensor of shape ({cases},), one value a case, "
            "or a scalar, their mean"
        )

    def means(self) -> dict[str, float]:
        """Each auxiliary loss, the mean over all cases of the epoch.

        Raises:
            FusionBenchError: a loss is not finite.
        """
        names = list(dict.fromkeys(name for sums in self.sums for name in sums))
        if not set(names) - {LOSS}:
            return {}
        zero = next(value for sums in self.sums for value in sums.values()).new_zeros(())
        # The only wait for a GPU: (batch, loss).
        table = torch.stack([torch.stack([sums.get(name, zero).double() for name in names]) for sums in self.sums])
        # The first such batch: afterwards the weights are not finite, and every loss with them.
        row = next((row for row in table.tolist() if not all(map(math.isfinite, row))), ())
        bad = {name: value for name, value in zip(names, row, strict=False) if not math.isfinite(value)}
        if set(bad) - {LOSS}:
            said = ", ".join(f"{name!r} is {value}" for name, value in bad.items() if name != LOSS)
            also = "; so is the task's own loss" if LOSS in bad else ""
            raise FusionBenchError(f"{self.who}: in {self.where}, auxiliary loss {said}{also}")
        values = dict(zip(names, (table.sum(dim=0) / self.cases).tolist(), strict=True))
        values.pop(LOSS, None)
        return values

    def refuse_idle_weights(self) -> None:
        """
        Raises:
            PluginError: a weight is that of a loss that never came in the epoch.
        """
        came = {LOSS, *(name for sums in self.sums for name in sums)}
        for name in sorted(self.weighted - came):
            known = ", ".join(sorted(came - {LOSS})) or "none"
            raise PluginError(
                f"{self.who}: there is a weight for auxiliary loss {name!r}, which never came in {self.where}; "
                f"losses that came: {known}"
            )


def trained_loss(out: Outputs, task_mean: Tensor, sums: Mapping[str, Tensor], cases: int) -> Tensor:
    """What an optimiser step descends: the task's mean loss and the weighted auxiliary losses.

    Args:
        task_mean: the batch's share of the mean of the task's loss.
        sums: of each auxiliary loss over the cases of the batch.
        cases: of all batches of the step.
    """
    weight = out.weights.get(LOSS, 1.0)
    # Left as it is where nothing is weighed, to the last bit.
    total = task_mean if weight == 1 else weight * task_mean
    for name, value in sums.items():
        if (weight := out.weights.get(name, 1.0)) != 0:
            total = total + weight * value / cases
    return total


def task_loss(out: Outputs, objective: Objective, targets: Targets[Tensor], cases: int) -> Tensor:
    """The sum of the task's losses over the cases of a batch; of a case with parts the mean of theirs.

    A loss that compares cases (Cox) is taken once, of the mean of the logits of a case's parts.
    """
    logits = wide(out.logits)
    if out.parts is None:
        return objective(logits, targets)
    if objective.compares_cases:
        return objective(mean_of_parts(logits, out.parts, cases), targets)
    count = parts_beside(out.parts)
    total = logits.new_zeros(())
    for number in set(count.tolist()):
        rows = (count == number).nonzero().flatten()
        total = total + objective(logits[rows], _taken(targets, out.parts[rows])) / number
    return total


def _taken(targets: Targets[Tensor], index: Tensor) -> Targets[Tensor]:
    return targets.map(lambda array: array[index])


def step_losses(steps: Steps | None, objective: Objective, targets: Targets[Tensor], cases: int) -> dict[str, Tensor]:
    """The task's loss after the steps, under its name and summed like a scalar loss; empty where there are none."""
    if steps is None:
        return {}
    return {STEPS: cases * objective.over_steps(wide(steps.logits), targets, steps.taken)}


def carried_forward(steps: Iterable[Steps]) -> tuple[Tensor, Tensor]:
    """Logits of all batches as after the last step that a case has taken so far, and whether there was one.

    Returns:
        (case, step, output) float64 and (case, step) bool, on the CPU.
    """
    made = list(steps)
    logits = torch.cat([s.logits.double() for s in made]).cpu()
    taken = torch.cat([s.taken for s in made]).cpu()
    for step in range(1, logits.shape[1]):
        kept = taken[:, step, None]
        logits[:, step] = torch.where(kept, logits[:, step], logits[:, step - 1])
        taken[:, step] |= taken[:, step - 1]
    return logits, taken
