"""From cases to what a model of plain vectors fits on: one row a case, modalities side by side, instances averaged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusionbench import CaseSet, DataError, ModalitySpec, PluginError, PreparedCase, State

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Outcomes:
    """Rows to fit on.

    Attributes:
        x: (case, column) float64.
        time: (case,) months.
        event: (case,) bool, True = observed.
        group: (case,) int64; rows of one group (a patient's slides) share a code and stay together.
    """

    x: Floats
    time: Floats
    event: Bools
    group: Ints

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: NDArray[Any]) -> Outcomes:
        """The rows at an index or boolean mask."""
        return Outcomes(self.x[rows], self.time[rows], self.event[rows], self.group[rows])


def design_matrix(cases: CaseSet) -> Floats:
    """(case, column) float64: the mean over the instances of each modality, side by side in the order of the specs.

    Raises:
        PluginError: if a case lacks a modality, which a model with `missing = "impute"` never sees.
        DataError: if a modality of a case has another width than declared.
    """
    columns = sum(spec.dim for spec in cases.specs.values())
    x = np.empty((len(cases), columns), dtype=np.float64)
    for row, case in zip(x, cases, strict=True):
        np.concatenate(list(_vectors(case, cases.specs.values())), out=row)
    return x


def same_columns(cases: CaseSet, columns: int, who: str) -> Floats:
    """The design matrix of cases to predict on.

    Raises:
        PluginError: if it has not the `columns` that were fitted.
    """
    x = design_matrix(cases)
    if x.shape[1] != columns:
        raise PluginError(f"{who}: fitted on {columns} columns, asked to predict on {x.shape[1]}")
    return x


def _vectors(case: PreparedCase, specs: Iterable[ModalitySpec]) -> Iterator[Floats]:
    for spec in specs:
        if spec.name not in case.bags:
            raise PluginError(f"case {case.id!r} has no {spec.name!r}: this model needs missing modalities imputed")
        values = case.bags[spec.name].values
        if values.shape[1] != spec.dim:
            raise DataError(f"case {case.id!r}: {spec.name!r} has {values.shape[1]} columns, expected {spec.dim}")
        yield values.double().mean(dim=0).cpu().numpy()


def fitting_rows(train: CaseSet, val: CaseSet, who: str) -> Outcomes:
    """Training rows, then validation rows.

    Raises:
        DataError: if fewer than two groups have an observed event.
    """
    if train.targets is None or val.targets is None:
        raise PluginError(f"{who}: fit needs targets on training and validation cases")
    time = np.concatenate([train.targets.time, val.targets.time]).astype(np.float64)
    event = np.concatenate([train.targets.event, val.targets.event]).astype(bool)
    cases = (*train.cases, *val.cases)
    group = np.unique([case.group for case in cases], return_inverse=True)[1].astype(np.int64)
    eventful, n_groups = len(np.unique(group[event])), len(np.unique(group))
    if eventful < 2:
        raise DataError(f"{who}: {eventful} of {n_groups} patients have an observed event; at least 2 are needed")
    return Outcomes(np.concatenate([design_matrix(train), design_matrix(val)]), time, event, group)


def encode_ids(ids: Sequence[str]) -> NDArray[np.uint8]:
    """(case, byte) uint8: ids in UTF-8, padded with zeros, so that a state of named arrays can hold them."""
    text = np.array([name.encode() for name in ids], dtype=np.bytes_)
    return text.view(np.uint8).reshape(len(ids), text.itemsize if len(ids) else 0)


def positions(encoded: NDArray[np.uint8], ids: Sequence[str], who: str) -> Ints:
    """(case,) row of each id in an array of `encode_ids`.

    Raises:
        PluginError: naming the first id that is not there.
    """
    known = {bytes(row).rstrip(b"\0").decode(): i for i, row in enumerate(encoded)}
    unknown = [name for name in ids if name not in known]
    if unknown:
        raise PluginError(f"{who}: {unknown[0]!r} was no validation case of this fit; `predict` takes other cases")
    return np.array([known[name] for name in ids], dtype=np.int64)


def as_state(arrays: Mapping[str, NDArray[Any]]) -> State:
    """Arrays laid out row by row, as safetensors writes them: it would scramble a transposed view."""
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


@dataclass(frozen=True)
class Labelled:
    """Rows to fit classes on.

    Attributes:
        x: (case, column) float64.
        label: (case,) int64, position of the case's class in `Task.classes`.
        group: (case,) int64; rows of one group (a patient's slides) share a code and stay together.
    """

    x: Floats
    label: Ints
    group: Ints

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: NDArray[Any]) -> Labelled:
        """The rows at an index or boolean mask."""
        return Labelled(self.x[rows], self.label[rows], self.group[rows])


def labelled_rows(train: CaseSet, val: CaseSet, n_classes: int, who: str) -> Labelled:
    """Training rows, then validation rows.

    Raises:
        DataError: if a class has cases of fewer than two groups.
    """
    if train.targets is None or val.targets is None:
        raise PluginError(f"{who}: fit needs targets on training and validation cases")
    label = np.concatenate([train.targets.label, val.targets.label])
    group = np.unique([case.group for case in (*train.cases, *val.cases)], return_inverse=True)[1].astype(np.int64)
    few = min(len(np.unique(group[label == k])) for k in range(n_classes))
    if few < 2:
        raise DataError(f"{who}: {few} patients are of one of the {n_classes} classes; at least 2 are needed")
    return Labelled(np.concatenate([design_matrix(train), design_matrix(val)]), label, group)


def class_folds(rows: Labelled, n_folds: int, seed: int) -> Ints:
    """(case,) inner fold of each row; groups stay together, classes are spread evenly.

    There are fewer folds where a class has fewer groups, so that every fold is fitted on every class.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(np.unique(rows.group[rows.label == k])) for k in np.unique(rows.label))
    splitter = StratifiedGroupKFold(min(n_folds, fewest), shuffle=True, random_state=seed)
    fold = np.empty(len(rows), dtype=np.int64)
    for number, (_, held_out) in enumerate(splitter.split(rows.x, rows.label, rows.group)):
        fold[held_out] = number
    return fold


def sklearn_seed(seed: int) -> int:
    """A cell's seed as scikit-learn takes one: 32 bits."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0])
