"""What is in a cohort: numbers, and lines to print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench.core.endpoints import ClassTarget, SurvivalTarget
from fusionbench.data.inspection.levels import levels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusionbench.data.cohort import Cohort
    from fusionbench.data.inspection.contents import Content
    from fusionbench.data.inspection.levels import Levels


@dataclass(frozen=True)
class FollowUp:
    """Follow-up of a cohort, in months.

    Attributes:
        median_time: of all times, with event or censored.
        median_follow_up: by the reverse Kaplan-Meier estimator, with censoring as the event: how long patients would
            have been followed if nobody had the event (Schemper and Smith 1996); None where it is not reached.
    """

    shortest: float
    longest: float
    median_time: float
    median_follow_up: float | None


@dataclass(frozen=True)
class ModalityFacts:
    """One modality of a cohort.

    Attributes:
        width: of a raw instance. categorical: number of its columns that hold codes.
        have, lack: number of cases.
        missing_cells: share of empty cells among the cases that have it; None for bags.
        instances: smallest, median and largest number per case, for bags.
        levels: each categorical column to its levels, as people wrote them, with the number of their cases.
    """

    name: str
    kind: str
    width: int
    categorical: int
    have: int
    lack: int
    missing_cells: float | None
    instances: tuple[int, float, int] | None
    levels: Levels


@dataclass(frozen=True)
class Facts:
    """A cohort in numbers.

    Attributes:
        events, censored, follow_up: of survival; None where the endpoint has classes. `censored` is the share of the
            cases with follow-up, in [0, 1].
        classes: class to its number of cases, in the order of the endpoint; empty for survival.
        complete: number of cases with every modality; without_modality: with none.
    """

    dataset: str
    title: str
    endpoint: str
    cases: int
    groups: int
    events: int | None
    censored: float | None
    follow_up: FollowUp | None
    classes: Mapping[str, int]
    modalities: tuple[ModalityFacts, ...]
    complete: int
    without_modality: int
    published_folds: int
    notes: tuple[str, ...]


def facts_of(cohort: Cohort, contents: Mapping[str, Content]) -> Facts:
    """The numbers of a cohort: cases, events, follow-up and modalities."""
    n = len(cohort.cases)
    targets = [target for target in cohort.targets.values() if isinstance(target, SurvivalTarget)]
    labels = [target.label for target in cohort.targets.values() if isinstance(target, ClassTarget)]
    return Facts(
        dataset=cohort.label,
        title=cohort.info.title,
        endpoint=cohort.info.endpoint,
        cases=n,
        groups=len({case.group for case in cohort.cases}),
        **_followed(targets),
        classes={name: labels.count(name) for name in cohort.info.classes},
        modalities=tuple(_modality(content, n) for content in contents.values()),
        complete=sum(set(case.refs) == set(cohort.modalities) for case in cohort.cases),
        without_modality=len(cohort.without_modality),
        published_folds=len(cohort.folds or ()),
        notes=cohort.info.notes,
    )


def _followed(targets: Sequence[SurvivalTarget]) -> dict[str, Any]:
    """The numbers of follow-up; None where there is none."""
    if not targets:
        return {"events": None, "censored": None, "follow_up": None}
    time, event = np.array([t.time for t in targets]), np.array([t.event for t in targets], dtype=np.bool_)
    spread = FollowUp(float(time.min()), float(time.max()), float(np.median(time)), median_follow_up(time, event))
    return {"events": int(event.sum()), "censored": float(1 - event.mean()), "follow_up": spread}


SHOWN_LEVELS = 12
"""Levels of a column that are printed; `--json` has all."""

_ROUNDING = 1e-9
"""Larger than any rounding error of a product over cases, smaller than any step of a real curve."""


def median_follow_up(time: NDArray[np.float64], event: NDArray[np.bool_]) -> float | None:
    """Median follow-up by the reverse Kaplan-Meier estimator; None where it is not reached.

    Args:
        time: (case,) in any unit. event: (case,) True = observed.
    """
    from sksurv.nonparametric import kaplan_meier_estimator

    if event.all():
        return None
    times, followed = kaplan_meier_estimator(~event, time)
    # The estimate is a product of fractions: one that is exactly a half may come out a rounding error above it.
    below = np.flatnonzero(followed <= 0.5 + _ROUNDING)
    return float(times[below[0]]) if below.size else None


def _modality(content: Content, n: int) -> ModalityFacts:
    use, have, sizes, table = content.modality.use, len(content.cases), content.instances, content.table
    return ModalityFacts(
        name=content.modality.label,
        kind=content.modality.kind,
        width=use.dim,
        categorical=len(use.categorical),
        have=have,
        lack=n - have,
        missing_cells=None if table is None else float(np.isnan(table).mean()),
        instances=None if table is not None else (int(sizes.min()), float(np.median(sizes)), int(sizes.max())),
        levels=levels_of(content),
    )


def lines(facts: Facts) -> Iterator[str]:
    """The facts as `data check` prints them."""
    yield f"{facts.dataset}: {facts.title}"
    yield f"{facts.cases} cases of {facts.groups} groups; {facts.endpoint}: {_outcome(facts)}"
    if facts.follow_up is not None:
        yield _follow_up(facts.follow_up)
    for modality in facts.modalities:
        yield _modality_line(modality)
        yield from (_levels_line(column, levels) for column, levels in modality.levels.items())
    yield f"{facts.complete} cases have every modality"
    if facts.without_modality:
        yield f"{facts.without_modality} cases have no modality at all; they get the average training risk"
    if facts.published_folds:
        folds, them = ("fold", "it") if facts.published_folds == 1 else ("folds", "them")
        yield f"{facts.published_folds} published {folds}; fold_source = 'published' uses {them}"
    yield from facts.notes


def _outcome(facts: Facts) -> str:
    if facts.censored is None:
        return ", ".join(f"{n} {name!r}" for name, n in facts.classes.items())
    return f"{facts.events} events ({facts.censored:.1%} censored)"


def _follow_up(facts: FollowUp) -> str:
    median = "not reached" if facts.median_follow_up is None else f"{facts.median_follow_up:.1f} months"
    return (
        f"times from {facts.shortest:.1f} to {facts.longest:.1f} months, median {facts.median_time:.1f}; median "
        f"follow-up (reverse Kaplan-Meier) {median}"
    )


def _modality_line(facts: ModalityFacts) -> str:
    codes = f" ({facts.categorical} categorical)" if facts.categorical else ""
    line = f"{facts.name}: {facts.kind} of width {facts.width}{codes}, {facts.have} cases have it, {facts.lack} lack it"
    if facts.missing_cells is not None:
        return f"{line}; {facts.missing_cells:.1%} of its cells are missing"
    if facts.instances is not None:
        return f"{line}; {facts.instances[0]} to {facts.instances[2]} instances a case, median {facts.instances[1]:g}"
    return line


def _levels_line(column: str, levels: Mapping[str, int]) -> str:
    shown = ", ".join(f"{text!r} {n}" for text, n in list(levels.items())[:SHOWN_LEVELS])
    more = f" and {len(levels) - SHOWN_LEVELS} more" if len(levels) > SHOWN_LEVELS else ""
    return f"  {column}: {len(levels)} level{'' if len(levels) == 1 else 's'}: {shown}{more}"
