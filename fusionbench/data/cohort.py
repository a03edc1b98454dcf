"""A cohort, read from a dataset and checked: every fault of the data is a DataError before anything is computed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fusionbench.core.errors import DataError, PluginError, did_you_mean
from fusionbench.core.interfaces import Dataset, Modality
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.timing import LOAD, span
from fusionbench.core.types import Case, DatasetInfo, Fold, ModalitySpec, ModalityUse, RawBag, SurvivalTarget
from fusionbench.data.fingerprint import cohort_fingerprint


@dataclass(frozen=True)
class Cohort:
    """A dataset that has been read and checked.

    Attributes:
        label: the dataset with its options that are not the defaults, for people.
        identity: the same without paths; random choices depend on it.
        cases: in the dataset's order.
        modalities: readers, in the dataset's order of modalities.
        specs_raw: what is known of each modality before preprocessing; for planning.
        fingerprint: sha256 of what it is; see `cohort_fingerprint`.
        folds: the published folds, or None.
    """

    label: str
    info: DatasetInfo
    cases: tuple[Case, ...]
    modalities: Mapping[str, Modality]
    specs_raw: Mapping[str, ModalitySpec]
    identity: str
    fingerprint: str
    folds: tuple[Fold, ...] | None

    @cached_property
    def targets(self) -> Mapping[str, SurvivalTarget]:
        """Case id to target, for the cases with follow-up."""
        return {case.id: case.target for case in self.cases if case.target is not None}

    @property
    def without_modality(self) -> tuple[str, ...]:
        """Ids of cases without any modality; they leave training and get the average training risk at test."""
        return tuple(case.id for case in self.cases if not case.refs)


def load_cohort(
    dataset: Dataset,
    registry_modalities: Mapping[str, type[Modality]],
    unit: str = "patient",
    *,
    new_patients: bool = False,
) -> Cohort:
    """Read and check a dataset.

    Args:
        registry_modalities: modality plugins by name.
        unit: of a case: "patient" or "slide".
        new_patients: for prediction: cases may lack a target, and a column or a modality may be absent throughout.

    Raises:
        DataError: the cohort is empty; an id is not unique; a time is negative, NaN or infinite (0, an end on the day
            of entry, is a time); no event is observed; a ref is of an undeclared modality or fails its modality's
            check; a column or a modality has no value in any case.
        PluginError: the dataset declares a modality plugin or an option that does not exist.
    """
    label, info = dataset_label(dataset), dataset.info()
    modalities = {name: make_modality(label, name, use, registry_modalities) for name, use in info.modalities.items()}
    cases = tuple(dataset.cases(unit=cast(Literal["patient", "slide"], unit)))
    _check_ids(label, cases)
    _check_targets(label, cases, new_patients=new_patients)
    for case in cases:
        undeclared = sorted(set(case.refs) - set(modalities))
        if undeclared:
            raise DataError(f"{label}, case {case.id!r}: {did_you_mean('modality', undeclared[0], modalities)}")
    for modality in modalities.values():
        _check_modality(label, modality, cases, new_patients=new_patients)
    published = dataset.folds()
    return Cohort(
        label=label,
        info=info,
        cases=cases,
        modalities=modalities,
        specs_raw={name: raw_spec(modality, cases) for name, modality in modalities.items()},
        identity=str(dataset.identity),
        fingerprint=cohort_fingerprint(dataset, info.checksums, cases),
        folds=None if published is None else tuple(published),
    )


def dataset_label(dataset: Dataset) -> str:
    """`name[option=value]` with the options that differ from the defaults."""
    return str(PluginRef.of(dataset.name, **dataset.options.model_dump(exclude_defaults=True)))


def make_modality(label: str, name: str, use: ModalityUse, known: Mapping[str, type[Modality]]) -> Modality:
    """The reader of one modality, with its options validated."""
    if use.modality not in known:
        raise PluginError(f"{label}, modality {name!r}: {did_you_mean('modality kind', use.modality, known)}")
    cls = known[use.modality]
    try:
        options = cls.Options.model_validate(dict(use.options))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        choices = ", ".join(sorted(cls.Options.model_fields)) or "none"
        raise PluginError(
            f"{label}, modality {name!r}: option {key!r} of {use.modality!r}: {first['msg']}. Options: {choices}"
        ) from error
    try:
        return cls(name, use, options)
    except DataError as error:
        raise DataError(f"{label}: {error}") from error


def read(modality: Modality, case: Case) -> RawBag:
    """The raw values of one modality of one case.

    Raises:
        DataError: naming case and modality.
    """
    try:
        with span(LOAD):
            return modality.load(case.refs[modality.label])
    except DataError as error:
        raise DataError(f"case {case.id!r}, modality {modality.label!r}: {error}") from error


def raw_spec(modality: Modality, cases: Sequence[Case]) -> ModalitySpec:
    """What planning may know of a modality: raw width, raw column groups, and the axes of a grid."""
    name, use = modality.label, modality.use
    position = {column: i for i, column in enumerate(use.features)}
    groups = {group: tuple(position[c] for c in columns) for group, columns in use.groups.items()}
    axes = 0
    if modality.kind == "grid":  # the number of axes is known only from a value; the first case is enough
        shapes = (read(modality, case).shape for case in cases if name in case.refs)
        axes = len(next(shapes, None) or ())
    return ModalitySpec(name, modality.kind, use.dim, groups, axes, use.features)


def _check_ids(label: str, cases: Sequence[Case]) -> None:
    if not cases:
        raise DataError(f"{label}: the cohort is empty; check the dataset's options and files")
    twice = [id_ for id_, n in Counter(case.id for case in cases).items() if n > 1]
    if twice:
        raise DataError(
            f"{label}: {len(twice)} case ids occur more than once, the first is {twice[0]!r}; make ids unique"
        )


def _check_targets(label: str, cases: Sequence[Case], *, new_patients: bool) -> None:
    for case in cases:
        if case.target is None:
            if new_patients:
                continue
            raise DataError(f"{label}, case {case.id!r}: no follow-up; leave the case out, or predict on it")
        time = float(case.target.time)
        if not math.isfinite(time) or time < 0:
            raise DataError(f"{label}, case {case.id!r}: time is {time:g}; give months >= 0 or leave the case out")
        # 1 and 0 are refused, too: which of them means observed differs between data sets.
        if not isinstance(case.target.event, (bool, np.bool_)):
            raise DataError(
                f"{label}, case {case.id!r}: event is {case.target.event!r}; give True (observed) or False (censored)"
            )
    if not new_patients and not any(case.target.event for case in cases if case.target is not None):
        raise DataError(
            f"{label}: none of {len(cases)} cases has an observed event; survival cannot be learnt or scored"
        )


def _check_modality(label: str, modality: Modality, cases: Sequence[Case], *, new_patients: bool) -> None:
    """Check every ref; each column of a vector must have a value in some case."""
    name, n = modality.label, 0
    # A reader may make more columns than are declared.
    seen: NDArray[np.bool_] | None = None
    for case in (case for case in cases if name in case.refs):
        n += 1
        try:
            if modality.kind == "vector":  # small: loaded whole; other kinds are files, of which headers are checked
                known = ~np.isnan(modality.load(case.refs[name]).values).all(axis=0)
                if seen is not None and len(known) != len(seen):
                    raise DataError(f"{len(known)} columns where the cases before it have {len(seen)}")
                seen = known if seen is None else seen | known
            else:
                modality.check(case.refs[name])
        except DataError as error:
            raise DataError(f"{label}, modality {name!r}, case {case.id!r}: {error}") from error
    if new_patients:
        return
    if n == 0:
        raise DataError(f"{label}: no case has modality {name!r}; leave it out of the dataset's modalities")
    if seen is not None and not seen.all():
        empty, names = np.flatnonzero(~seen), modality.use.features
        first = repr(names[empty[0]]) if len(names) == len(seen) else str(empty[0])
        raise DataError(
            f"{label}, modality {name!r}: {len(empty)} columns have no value in any case, the first is {first}; "
            "leave them out"
        )
