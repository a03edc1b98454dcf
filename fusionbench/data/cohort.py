"""A cohort, read from a dataset and checked: every fault of the data is a DataError before anything is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fusionbench.core.data_warning import Fix
from fusionbench.core.errors import DataError, PluginError, did_you_mean
from fusionbench.core.interfaces import Dataset, Modality
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.timing import LOAD, span
from fusionbench.core.types import Case, DatasetInfo, Fold, MaskRow, ModalitySpec, ModalityUse, RawBag, Target
from fusionbench.data.fingerprint import cohort_fingerprint
from fusionbench.data.fixes import Problem
from fusionbench.tasks import task_kind


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
        masks: the published masks by name.
    """

    label: str
    info: DatasetInfo
    cases: tuple[Case, ...]
    modalities: Mapping[str, Modality]
    specs_raw: Mapping[str, ModalitySpec]
    identity: str
    fingerprint: str
    folds: tuple[Fold, ...] | None
    masks: Mapping[str, tuple[MaskRow, ...]] = field(default_factory=dict)

    @cached_property
    def targets(self) -> Mapping[str, Target]:
        """Case id to target, for the cases that have one: follow-up or class."""
        return {case.id: case.target for case in self.cases if case.target is not None}

    @property
    def without_modality(self) -> tuple[str, ...]:
        """Ids of cases without any modality; they leave training and get the average training risk at test."""
        return tuple(case.id for case in self.cases if not case.refs)


SHOWN = 20
"""Problems listed in a message; of more, the number is given."""


class FaultyCohort(DataError):
    """A cohort of which something is wrong.

    Attributes:
        problems: all of them, a line each.
        rest: the cohort without what is wrong, for `data check`; None where nothing can be read.
    """

    def __init__(
        self, where: str, problems: Sequence[str], rest: Dataset | None = None, *, shown: int | None = SHOWN
    ) -> None:
        """A message that begins with `where` and lists the first `shown` problems; None lists all."""
        self.where, self.problems, self.rest = where, tuple(problems), rest
        if len(problems) == 1:
            super().__init__(f"{where}: {problems[0]}")
            return
        lines = [f"  - {problem}" for problem in problems[:shown]]
        more = [f"  - and {len(problems) - len(lines)} more"] if len(problems) > len(lines) else []
        super().__init__("\n".join([f"{where}: {len(problems)} problems", *lines, *more]))

    def __reduce__(self) -> tuple[type[FaultyCohort], tuple[str, tuple[str, ...]]]:
        # Sent by a worker; what could be read stays there.
        return FaultyCohort, (self.where, self.problems)


def load_cohort(
    dataset: Dataset,
    registry_modalities: Mapping[str, type[Modality]],
    unit: str = "patient",
    *,
    new_patients: bool = False,
) -> Cohort:
    """Read and check a dataset.

    A column without a value in any case is of no use and does no harm: a line in the cohort's notes.

    Args:
        registry_modalities: modality plugins by name.
        unit: of a case: "patient" or "slide".
        new_patients: for prediction: cases may lack a target, and a column or a modality may be absent throughout.

    Raises:
        FaultyCohort: the cohort is empty; an id is not unique; a time is negative, NaN or infinite (0, an end on the
            day of entry, is a time); no event is observed; a class is unknown or has no case; a
            ref is of an undeclared modality or fails its modality's
            check; a modality has no case. All that is wrong is told at once.
        PluginError: the dataset declares a modality plugin or an option that does not exist.
    """
    problems: list[str] = []
    cohort = read_sound_part(dataset, registry_modalities, problems, unit, new_patients=new_patients)
    if problems or cohort is None:
        raise FaultyCohort(dataset_label(dataset), problems)
    return cohort


def read_sound_part(
    dataset: Dataset,
    registry_modalities: Mapping[str, type[Modality]],
    problems: list[str],
    unit: str = "patient",
    *,
    new_patients: bool = False,
) -> Cohort | None:
    """A dataset without the cases and modalities that are faulty; None where no case is left.

    Args:
        problems: gets a line for each fault; the others are as for `load_cohort`.
    """
    label, info = dataset_label(dataset), dataset.info()
    modalities = {name: make_modality(label, name, use, registry_modalities) for name, use in info.modalities.items()}
    cases = tuple(dataset.cases(unit=cast(Literal["patient", "slide"], unit)))
    problems += _id_problems(cases)
    notes = [*info.notes]
    cases = _with_targets(cases, info, problems, notes, new_patients=new_patients)
    for case in cases:
        undeclared = sorted(set(case.refs) - set(modalities))
        if undeclared:
            problems.append(f"case {case.id!r}: {did_you_mean('modality', undeclared[0], modalities)}")
    sound = [name for name, m in modalities.items() if _is_sound(m, cases, problems, notes, new_patients=new_patients)]
    if not cases:
        return None
    if len(sound) < len(modalities):
        modalities = {name: modalities[name] for name in sound}
        cases = tuple(replace(c, refs={m: ref for m, ref in c.refs.items() if m in modalities}) for c in cases)
    published = dataset.folds()
    return Cohort(
        label=label,
        info=replace(info, notes=tuple(notes)),
        cases=cases,
        modalities=modalities,
        specs_raw={name: raw_spec(modality, cases) for name, modality in modalities.items()},
        identity=str(dataset.identity),
        fingerprint=cohort_fingerprint(dataset, info, cases),
        folds=None if published is None else tuple(published),
        masks={name: tuple(rows) for name, rows in dataset.masks().items()},
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


def _id_problems(cases: Sequence[Case]) -> Iterator[str]:
    if not cases:
        yield "the cohort is empty; check the dataset's options and files"
    twice = [id_ for id_, n in Counter(case.id for case in cases).items() if n > 1]
    if twice:
        yield f"{len(twice)} case ids occur more than once, the first is {twice[0]!r}; make ids unique"


def _with_targets(
    cases: Sequence[Case], info: DatasetInfo, problems: list[str], notes: list[str], *, new_patients: bool
) -> tuple[Case, ...]:
    """The cases whose targets can be used; faulty ones are added to the problems, missing classes to the notes."""
    kind, sound = task_kind(info.task), []
    unknown = [case.id for case in cases if case.target is None]
    if unknown and not new_patients:
        if info.task != "survival":
            notes.append(f"{len(unknown)} of {len(cases)} cases have no class for {info.endpoint!r}: left out")
        else:
            problems.append(no_follow_up(unknown))
    for case in cases:
        problem = "" if case.target is None else kind.target_problem(case.target, info)
        if problem:
            problems.append(f"case {case.id!r}: {problem}")
        elif case.target is not None or new_patients:
            sound.append(case)
    targets = [case.target for case in sound if case.target is not None]
    problem = kind.cohort_problem(targets, info) if (sound or unknown) and not new_patients else ""
    if problem:
        problems.append(problem)
        return ()
    return tuple(sound)


def no_follow_up(ids: Sequence[str]) -> Problem:
    """The problem of cases without a time, which can be predicted on and not be trained or scored with."""
    which = f"case {ids[0]!r}: no follow-up" if len(ids) == 1 else f"{len(ids)} cases ({listed(ids)}): no follow-up"
    them = "the case" if len(ids) == 1 else "the cases"
    return Problem(f"{which}; leave {them} out (exclude), or predict on {them}", Fix((), "exclude", [*ids]))


def listed(names: Sequence[str], most: int = 4) -> str:
    """The first few names, quoted."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def _is_sound(
    modality: Modality, cases: Sequence[Case], problems: list[str], notes: list[str], *, new_patients: bool
) -> bool:
    """Whether every ref can be read; else with problems. Columns without a value in any case are noted."""
    name, before = modality.label, len(problems)
    # A reader may make more columns than are declared.
    seen: NDArray[np.bool_] | None = None
    having = [case for case in cases if name in case.refs]
    for case in having:
        try:
            if modality.kind == "vector":  # small: loaded whole; other kinds are files, of which headers are checked
                known = ~np.isnan(modality.load(case.refs[name]).values).all(axis=0)
                if seen is not None and len(known) != len(seen):
                    raise DataError(f"{len(known)} columns where the cases before it have {len(seen)}")
                seen = known if seen is None else seen | known
            else:
                modality.check(case.refs[name])
        except DataError as error:
            problems.append(f"modality {name!r}, case {case.id!r}: {error}")
    if not having and not new_patients and cases:
        problems.append(f"no case has modality {name!r}; leave it out of the dataset's modalities")
    if seen is not None and not seen.all() and not new_patients:
        names = modality.use.features if len(modality.use.features) == len(seen) else tuple(map(str, range(len(seen))))
        empty = [names[i] for i in np.flatnonzero(~seen)]
        notes.append(f"modality {name!r}: {len(empty)} of {len(seen)} columns have no value ({listed(empty)}): ignored")
    return len(problems) == before
