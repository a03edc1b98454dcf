"""Checks of what a model makes of a batch: neighbours, padding, the order of instances, widths, its inputs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fusionbench.core.types import NO_NEIGHBOUR, Bag, Batch, Case, CaseSet, PreparedCase
from fusionbench.execution.training.outputs import as_trained_on, reads_targets
from fusionbench.testing.conformance.check import Checklist, Failure, Skipped, raised
from fusionbench.testing.conformance.samples import Prepare, Sample, as_classes, change_refs, make_sample
from fusionbench.testing.conformance.trials import (
    BRIEF,
    ModelSubject,
    Trial,
    batch_of,
    largest_difference,
    logits,
    tolerance,
)

CHECKS: Checklist[ModelSubject] = Checklist()
Array = NDArray[Any] | Tensor
REPEATS = ("predictions", "deterministic")
GARBAGE = 100.0
"""Standard deviation of what is put where a mask is False; data have 1."""
MANY = 20
"""Times that a long bag of the ragged batch repeats its 3 to 9 instances."""


@CHECKS.add(
    "batch-invariant",
    "A case is given the same risk alone, in a pair, and among all others (bags of one length, so without padding).",
    cause="batch normalisation without running statistics, a softmax or a mean over the case axis, or `.squeeze()`.",
    needs=REPEATS,
)
def batch_invariant(subject: ModelSubject) -> None:
    for trial in subject.trials:
        _check_neighbours(trial, _of_one_length(trial))


def _check_neighbours(trial: Trial, cases: CaseSet) -> None:
    """Every case gets one risk alone, in a pair and among all."""
    together = trial.fitted.risk(cases)
    parts = [[i] for i in range(6)] + [[7, 6], [9, 8]]
    for rows in parts:
        difference = largest_difference(trial.fitted.risk(cases.take(rows)), together[rows])
        # A NaN differs from everything.
        if not difference <= tolerance(together):
            raise Failure(
                f"on {trial.label}, the risk of case {cases.ids[rows[0]]!r} changes by {difference:.3g} "
                f"between a batch of {len(rows)} and one of {len(cases)}"
            )


def _of_one_length(trial: Trial) -> CaseSet:
    """The test cases, every bag and grid cut to the extents that all of them have."""
    cases = trial.test
    for name in trial.kinds("bag", "grid"):
        axes = trial.test.specs[name].axes or 1
        least = np.array([case.refs[name].shape[:axes] for case in cases.cases]).min(axis=0)
        cases = change_refs(cases, name, partial(_cut, tuple(slice(int(n)) for n in least)))
    return cases


def _cut(window: tuple[slice, ...], _: int, ref: NDArray[Any]) -> NDArray[Any]:
    return ref[window]


@CHECKS.add(
    "padding-invariant",
    "What stands in padded instances, under a False mask, does not change the module's output.",
    cause="a mean or a maximum over all instances, or a softmax that is not masked.",
    needs=REPEATS,
)
def padding_invariant(subject: ModelSubject) -> None:
    for trial, predictor in subject.with_module(subject.with_kinds("bag", "grid")):
        batch = batch_of(trial.test, predictor.module, 12)
        plain = logits(predictor.module, batch).numpy()
        bags = {n: _padded(bag) if n in trial.kinds("bag", "grid") else bag for n, bag in batch.bags.items()}
        difference = largest_difference(logits(predictor.module, replace(batch, bags=bags)).numpy(), plain)
        if difference > tolerance(plain):
            raise Failure(f"on {trial.label}, logits change by {difference:.3g} with three padded instances more")


def _padded(bag: Bag) -> Bag:
    """Three instances more, all of them padding, and garbage wherever the mask is False."""
    generator = torch.Generator().manual_seed(0)

    def filled(x: Tensor, mask: Tensor) -> Tensor:
        longer = torch.cat([x, x.new_zeros(len(x), 3, x.shape[-1])], dim=1)
        return torch.where(mask.unsqueeze(-1), longer, GARBAGE * torch.randn(longer.shape, generator=generator))

    mask = torch.cat([bag.mask, torch.zeros(len(bag.mask), 3, dtype=torch.bool)], dim=1)
    coords = None if bag.coords is None else filled(bag.coords, mask)
    near = None if bag.neighbours is None else nn.functional.pad(bag.neighbours, (0, 0, 0, 3), value=NO_NEIGHBOUR)
    return replace(bag, values=filled(bag.values, mask), mask=mask, coords=coords, neighbours=near)


@CHECKS.add(
    "ragged-batches",
    "With bags of one, two and many instances side by side, a case is given the same finite risk alone and among all.",
    cause="a spread over instances (NaN for one of them), `.squeeze()`, or a sum divided by the longest bag.",
    needs=(*REPEATS, "batch-invariant", "padding-invariant"),
)
def ragged_batches(subject: ModelSubject) -> None:
    for trial in subject.with_kinds("bag"):
        cases = trial.test
        for name in trial.kinds("bag"):
            cases = change_refs(cases, name, lambda i, ref: np.tile(ref, (MANY, 1)) if i % 3 == 2 else ref[: i % 3 + 1])
        _check_neighbours(trial, cases)


@CHECKS.add(
    "instance-order-invariant",
    "The order of a bag's instances does not matter, unless the model sets `ordered_instances`.",
    cause="positions by index, a recurrent layer, or the first instances taken for all.",
    needs=REPEATS,
)
def instance_order_invariant(subject: ModelSubject) -> None:
    rng = np.random.default_rng(0)
    for trial in subject.with_kinds("bag"):
        if getattr(trial.fitted.model, "ordered_instances", False):
            raise Skipped("it reads the order of instances, and says so: ordered_instances = True")
        cases = trial.test
        for name in trial.kinds("bag"):
            cases = change_refs(cases, name, lambda _, ref: rng.permutation(ref))
        difference = largest_difference(trial.fitted.risk(cases), trial.plain.risk)
        if difference > tolerance(trial.plain.risk):
            raise Failure(f"on {trial.label}, a risk changes by {difference:.3g} when the instances are shuffled")


@CHECKS.add(
    "inputs-not-changed",
    "Neither `fit`, `predict` nor the module's forward changes files' arrays, prepared cases, targets or a batch.",
    cause="an operation in place (`x += ...`, `x.mul_`, `relu_`) on values that are shared with the next reader.",
    needs=REPEATS,
)
def inputs_not_changed(subject: ModelSubject) -> None:
    for trial in subject.trials:
        sample = as_classes(make_sample(trial.modalities, cached=True), trial.kind)
        before = copy.deepcopy(list(_numbers(sample)))
        fitted = subject.fitter.fit(trial.ref, sample, BRIEF)
        fitted.risk(fitted.sample.test)
        _compare(before, _numbers(sample), f"on {trial.label}, fit or predict")
        if trial.fitted.module is not None:
            _check_forward(trial, trial.fitted.module.module)


def _check_forward(trial: Trial, module: nn.Module) -> None:
    batch = batch_of(trial.test, module, 12)
    before = copy.deepcopy(list(_tensors(batch)))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        copy.deepcopy(module).eval()(batch)
        copy.deepcopy(module).train()(as_trained_on(batch, declared=reads_targets(module)))
    _compare(before, _tensors(batch), f"on {trial.label}, the module's forward")


def _numbers(sample: Sample) -> Iterator[tuple[str, Array]]:
    """Every array that a model can reach through its case sets, with its name."""
    for part, cases in (("training", sample.train), ("validation", sample.val), ("test", sample.test)):
        if cases.targets is not None:
            yield from ((f"the {part} {name}", array) for name, array in vars(cases.targets).items())
        for case, prepared in zip(cases.cases, cases, strict=True):
            yield from ((f"the raw {name!r} of a {part} case", ref) for name, ref in case.refs.items())
            yield from ((f"the prepared {name!r} of a {part} case", b.values) for name, b in prepared.bags.items())


def _tensors(batch: Batch) -> Iterator[tuple[str, Array]]:
    for name, bag in batch.bags.items():
        for part, tensor in vars(bag).items():
            if tensor is not None:
                yield f"the {part} of {name!r} in the batch", tensor


def _compare(before: Sequence[tuple[str, Array]], after: Iterable[tuple[str, Array]], who: str) -> None:
    for (name, old), (_, new) in zip(before, after, strict=True):
        if not np.array_equal(np.asarray(old), np.asarray(new)):
            raise Failure(f"{who} changed {name}")


@CHECKS.add(
    "refuses-other-widths",
    "A modality of another width than it was fitted on is an error that names the modality.",
    cause="columns cut or padded to fit, an exception that is swallowed, or a message without the modality's name.",
    needs=REPEATS,
)
def refuses_other_widths(subject: ModelSubject) -> None:
    asked = [trial for trial in subject.trials if not trial.fitted.context.members]
    if not asked:
        raise Skipped("it builds on other models, which prepare the cases themselves")
    for trial in asked:
        for name in trial.modalities:
            for change in (1, -1):
                _refuses(trial, name, change)


def _refuses(trial: Trial, name: str, change: int) -> None:
    width = trial.test.specs[name].dim
    asked = f"on {trial.label}, {name!r} with {width + change} columns in place of {width}"
    try:
        trial.fitted.predict(replace(trial.test, prepare=Resized(trial.test.prepare, name, change)))
    except Exception as error:
        if name not in str(error):
            raise Failure(f"{asked}: {raised(error)}") from error
        return
    raise Failure(f"{asked}: predictions, and no error")


@dataclass(frozen=True)
class Resized:
    """Prepares cases with a column more, or one less, of one modality."""

    prepare: Prepare
    name: str
    change: int

    def __call__(self, case: Case, visible: tuple[str, ...]) -> PreparedCase:
        bags = dict(self.prepare(case, visible).bags)
        values = bags[self.name].values
        resized = torch.cat([values, values[:, :1]], dim=1) if self.change > 0 else values[:, :-1]
        bags[self.name] = replace(bags[self.name], values=resized)
        return PreparedCase(case.id, bags)
