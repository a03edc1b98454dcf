"""Checks of a modality."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fusionbench.core.errors import DataError
from fusionbench.core.interfaces import FittedModality, Modality
from fusionbench.core.registry import Registry
from fusionbench.core.types import ModalityUse, RawBag
from fusionbench.testing.conformance.check import (
    Check,
    Checklist,
    Failure,
    Promise,
    Skipped,
    checks_of,
    equal_refs,
    raised,
)
from fusionbench.testing.conformance.declarations import declarations
from fusionbench.testing.conformance.written import Watched
from fusionbench.testing.toys import TOYS, toy_cases

OF_KIND = {"vector": "omic", "bag": "image", "grid": "map"}
"""The toy modality that stands for each kind."""


class ModalitySubject:
    """A registered modality, and what it reads: its own `examples()`, or the toy arrays of its kind."""

    def __init__(self, name: str, registry: Registry) -> None:
        self.cls: type[Modality] = registry.get("modalities", name)

    @cached_property
    def examples(self) -> tuple[ModalityUse, Sequence[Any]]:
        """How a dataset declares it, and refs of at least two cases."""
        own = getattr(self.cls, "examples", None)
        if own is not None:
            use, refs = own()
            return use, list(refs)
        toy = OF_KIND[self.cls.kind]
        refs = [case.refs[toy] for case in toy_cases(20, modalities=(toy,))]
        return replace(TOYS[toy], modality=self.cls.name, options={}), refs

    def reader(self, use: ModalityUse | None = None) -> Modality:
        """The modality with its default options."""
        use = use or self.examples[0]
        return self.cls("sample", use, self.cls.Options.model_validate(dict(use.options)))

    @cached_property
    def bags(self) -> list[RawBag]:
        """The example cases as they are read."""
        reader = self.reader()
        try:
            return [reader.load(ref) for ref in self.examples[1]]
        except DataError as error:
            if hasattr(self.cls, "examples"):
                raise
            raise Skipped(f"it does not read plain arrays ({error}); give it a classmethod `examples()`") from error

    @cached_property
    def fitted(self) -> FittedModality:
        """The preprocessing fitted on the example cases."""
        return self.fit()

    def fit(self) -> FittedModality:
        """On the first half of the cases, handed over one at a time and once."""
        return self.reader().fit(iter(copy.deepcopy(self.bags[: len(self.bags) // 2 or 1])))


CHECKS: Checklist[ModalitySubject] = Checklist()
LOADS = ("loads",)
FITS = ("loads", "prepares")


@CHECKS.add(
    "loads",
    "`check` and `load` read the examples into (instance, feature) arrays of one width, at least the declared one.",
    cause="the examples are not what the modality reads: give the class a classmethod `examples() -> (use, refs)`.",
)
def loads(subject: ModalitySubject) -> None:
    reader, (use, refs) = subject.reader(), subject.examples
    # A reader may add columns, such as the means of a node's neighbours, but every case has the same ones.
    width = max(use.dim, np.shape(subject.bags[0].values)[-1])
    for ref, bag in zip(refs, subject.bags, strict=True):
        reader.check(ref)
        _check_raw(bag, subject.cls.kind, width)


def _check_raw(bag: RawBag, kind: str, dim: int) -> None:
    shape = np.shape(bag.values)
    if len(shape) != 2 or shape[0] == 0 or shape[1] != dim or (kind == "vector" and shape[0] != 1):
        raise Failure(f"values of shape {shape}", f"({'1' if kind == 'vector' else 'instance'}, {dim})")
    if kind == "grid" and (bag.shape is None or int(np.prod(bag.shape)) != shape[0]):
        raise Failure(f"shape {bag.shape} for {shape[0]} instances", "the extent along each axis of the grid")


@CHECKS.add(
    "prepares",
    "A fitted modality gives finite float32 (instance, feature) tensors of width `spec.dim`, of unseen cases, too.",
    cause="float64 from numpy, a division by a spread of 0, or a `spec.dim` from before one-hot coding.",
    needs=LOADS,
)
def prepares(subject: ModalitySubject) -> None:
    spec = subject.fitted.spec
    if (spec.name, spec.kind) != ("sample", subject.cls.kind):
        raise Failure(f"spec of {spec.name!r}, a {spec.kind}", f"of 'sample' (its label), a {subject.cls.kind}")
    for bag in subject.bags:
        _check_prepared(subject.fitted(bag), (len(bag.values), spec.dim), "a case")


def _check_prepared(values: Any, shape: tuple[int, ...], of: str) -> None:
    if not isinstance(values, torch.Tensor) or tuple(values.shape) != shape or values.dtype != torch.float32:
        seen = f"{tuple(values.shape)} {values.dtype}" if hasattr(values, "dtype") else type(values).__name__
        raise Failure(f"{seen} for {of}", f"a float32 tensor of shape {shape}")
    if not bool(values.isfinite().all()):
        raise Failure(f"NaN or infinity for {of}")


@CHECKS.add(
    "mean",
    "`mean()` is a finite float32 tensor of `spec.dim` numbers: what stands in for a missing modality.",
    cause="the mean of raw values, from before one-hot coding, or with an axis of instances left.",
    needs=FITS,
)
def mean(subject: ModalitySubject) -> None:
    _check_prepared(subject.fitted.mean(), (subject.fitted.spec.dim,), "the mean")


@CHECKS.add(
    "restores",
    "`restore` of the state, written as JSON and read back, prepares every case exactly alike.",
    cause="numpy numbers in the state, or a rounded or forgotten constant.",
    needs=FITS,
)
def restores(subject: ModalitySubject) -> None:
    state = json.loads(json.dumps(subject.fitted.state()))
    again = subject.reader().restore(state)
    _same(subject, again, "restored")
    if again.spec != subject.fitted.spec:
        raise Failure(f"spec {again.spec} in place of {subject.fitted.spec}")


def _same(subject: ModalitySubject, other: FittedModality, what: str) -> None:
    pairs = [(subject.fitted(bag), other(bag)) for bag in subject.bags] + [(subject.fitted.mean(), other.mean())]
    if any(not torch.equal(one, two) for one, two in pairs):
        raise Failure(f"the {what} modality prepares a case, or the mean, differently")


@CHECKS.add(
    "same-again",
    "A second fit on the same cases is equal, and preparing other cases changes nothing of what was fitted.",
    cause="random numbers without a seed, or statistics that go on running after the fit.",
    needs=FITS,
)
def same_again(subject: ModalitySubject) -> None:
    fitted, other = subject.fit(), subject.fit()
    before = json.dumps(fitted.state(), sort_keys=True)
    if before != json.dumps(other.state(), sort_keys=True):
        raise Failure("two fits on the same cases have different states")
    for bag in subject.bags:
        fitted(bag)
    if before != json.dumps(fitted.state(), sort_keys=True):
        raise Failure("preparing cases that it was not fitted on changed its state")


@CHECKS.add(
    "missing-values",
    "A vector's NaN is a missing cell and is filled; in a bag or a grid, NaN is a DataError.",
    cause="NaN that passes through a standardisation, or features that are not looked at when they are read.",
    needs=FITS,
)
def missing_values(subject: ModalitySubject) -> None:
    ref = subject.examples[1][0]
    if not isinstance(ref, np.ndarray) or ref.dtype.kind != "f":
        raise Skipped("its refs are no arrays of numbers, so that there is no place for NaN")
    holed = ref.copy()
    holed.flat[0] = np.nan
    if subject.cls.kind == "vector":
        prepared = subject.fitted(subject.reader().load(holed))
        _check_prepared(prepared, (1, subject.fitted.spec.dim), "a case with a missing cell")
        return
    try:
        subject.reader().load(holed)
    except DataError:
        return
    raise Failure("a bag with NaN was read without an error", "DataError that says where the NaN is")


@CHECKS.add(
    "refuses-other-widths",
    "Data of another width than declared is a DataError.",
    cause="the declared width is not compared with what was read.",
    needs=LOADS,
)
def refuses_other_widths(subject: ModalitySubject) -> None:
    use, refs = subject.examples
    _ = subject.bags
    if all(isinstance(ref, str) and not Path(ref).exists() for ref in refs):
        raise Skipped("its refs are texts, which have no columns")
    wider = ModalityUse(use.modality, use.dim + 1, use.options)
    try:
        subject.reader(wider).load(refs[0])
    except DataError:
        return
    except Exception as error:
        raise Failure(raised(error), "DataError") from error
    raise Failure(f"{use.dim} columns were read where {use.dim + 1} are declared", "DataError")


@CHECKS.add(
    "inputs-not-changed",
    "Neither refs nor raw bags are changed by `load`, `fit` or preparing.",
    cause="`values -= mean` on the array that was handed in.",
    needs=FITS,
)
def inputs_not_changed(subject: ModalitySubject) -> None:
    _ = subject.bags
    use, refs = copy.deepcopy(subject.examples)
    bags = [subject.reader(use).load(ref) for ref in refs]
    before = copy.deepcopy(bags)
    fitted = subject.reader().fit(iter(bags))
    for bag in bags:
        fitted(bag)
    for old, new in zip(before, bags, strict=True):
        if not np.array_equal(old.values, new.values, equal_nan=True):
            raise Failure("a raw bag was changed by fit or by preparing it")
    if any(not equal_refs(a, b) for a, b in zip(subject.examples[1], refs, strict=True)):
        raise Failure("a ref was changed by load")


@CHECKS.add(
    "pickles",
    "Reader and fitted modality go through pickle, and prepare alike on the other side.",
    cause="an open file, a lambda or a loaded network as an attribute.",
    needs=FITS,
)
def pickles(subject: ModalitySubject) -> None:
    _, again = pickle.loads(pickle.dumps((subject.reader(), subject.fitted)))
    _same(subject, again, "unpickled")


@CHECKS.add(
    "writes-nothing",
    "Neither reading nor fitting nor preparing writes a file.",
    cause="decoded data kept in the working directory, in the home or beside the plugin's code.",
    needs=FITS,
)
def writes_nothing(subject: ModalitySubject) -> None:
    use, refs = subject.examples
    with Watched(subject.cls) as watched:
        bags = [subject.reader(use).load(ref) for ref in refs]
        fitted = subject.reader(use).fit(iter(bags))
        for bag in bags:
            fitted(bag)
    if watched.written:
        raise Failure(f"it wrote {', '.join(watched.written[:3])}")


PROMISES: tuple[Promise[ModalitySubject], ...] = (
    *declarations(lambda subject: subject.cls),
    *CHECKS.promises,
)


def checks(name: str, registry: Registry) -> list[Check]:
    """The checks of one modality."""
    return checks_of("modality", name, lambda: ModalitySubject(name, registry), PROMISES)
