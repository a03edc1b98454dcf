"""Case ids and groups that stand in two cohorts: the same patients, or two cohorts that number them alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fusionbench.core.data_warning import DataWarning
from fusionbench.core.endpoints import SurvivalTarget
from fusionbench.data.cohort import listed
from fusionbench.data.inspection.duplicates import BY_CHANCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusionbench.core.types import Case
    from fusionbench.data.cohort import Cohort

    Floats = NDArray[np.float64]
    Values = Mapping[str, Floats]

MOST_PAIRS = 20_000
"""Pairs of cases with different names that are compared at most."""
LEAST_SHARE = 0.5
"""Share of the smaller cohort's names that two cohorts which number alike have in common."""
ERRORS = 3.0
"""Standard errors by which cases of one name have to agree better than others to look like the same patients."""


def same_names(first: Cohort, second: Cohort, values: tuple[Values, Values]) -> Iterator[DataWarning]:
    """Ids and groups that are in both cohorts; of another kind where values and outcomes say that they are others.

    Cases of one name are the same patients unless there is evidence against it: at least half of the smaller cohort's
    ids are in both, they agree in no more of their values and outcomes than cases of different names do, and no two
    agree in all of them. Where nothing can be compared, they are the same.

    Args:
        values: of each cohort, case id to its values in the columns that both have; NaN = none.
    """
    ids = [sorted(case.id for case in cohort.cases) for cohort in (first, second)]
    both = sorted({*ids[0]} & {*ids[1]})
    groups = sorted({c.group for c in first.cases} & {c.group for c in second.cases} - {*both})
    for names, by_group, words in (
        (both, False, ("case id is", "case ids are")),
        (groups, True, ("group is", "groups are")),
    ):
        if not names:
            continue
        seen = f"{len(names)} {words[len(names) > 1]} in both ({listed(names)})"
        pairs = _pairs(first.cases, second.cases, frozenset(names), by_group=by_group)
        shares = _shares(first, second, values, pairs) if _alike(first, second, names, by_group=by_group) else None
        if shares is None:
            advice = "if they are other patients, write other ids in one cohort"
            text = f"{seen}: no external test of patients who were trained on; {advice}"
            yield DataWarning("shared-patients", "cases", text, tuple(names))
        else:
            text = (
                f"{seen}, with other values and outcomes: {shares[0]:.0%} of them agree, and {shares[1]:.0%} of cases "
                "of different names, so they are taken for other patients; write other ids in one cohort"
            )
            yield DataWarning("same-names", "cases", text, tuple(names))


def _alike(first: Cohort, second: Cohort, names: Sequence[str], *, by_group: bool) -> bool:
    """Whether two cohorts have so many names in common as those have that count their patients from 1."""
    sizes = [len({case.group if by_group else case.id for case in cohort.cases}) for cohort in (first, second)]
    return len(names) >= LEAST_SHARE * min(sizes)


Pairs = Sequence[tuple[Sequence[str], Sequence[str]]]


def _pairs(first: Sequence[Case], second: Sequence[Case], names: frozenset[str], *, by_group: bool) -> Pairs:
    """Ids of the cases of each name in the first and in the second cohort."""
    found: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in sorted(names)}
    for k, cases in enumerate((first, second)):
        for case in cases:
            name = case.group if by_group else case.id
            if name in found:
                found[name][k].append(case.id)
    return list(found.values())


def _shares(first: Cohort, second: Cohort, values: tuple[Values, Values], pairs: Pairs) -> tuple[float, float] | None:
    """Share of the values in which cases of one name agree, and of different names; None for the same patients."""
    rows = [_with_outcomes(cohort, of) for cohort, of in zip((first, second), values, strict=True)]
    same = [_agreement(rows[0][a], rows[1][b]) for ones, others in pairs for a in ones for b in others]
    ones = [(i, a) for i, (of, _) in enumerate(pairs) for a in of]
    others = [b for _, of in pairs for b in of] if len(pairs) > 1 else sorted(rows[1])
    named = {b: i for i, (_, of) in enumerate(pairs) for b in of}
    step = max(1, len(ones) * len(others) // MOST_PAIRS)
    different = [
        _agreement(rows[0][a], rows[1][b])
        for n, (i, a, b) in enumerate((i, a, b) for i, a in ones for b in others)
        if n % step == 0 and named.get(b) != i
    ]
    here, there = (np.array([share for share in of if share is not None]) for of in (same, different))
    if not len(here) or not len(there):
        return None
    whole, by_chance = int(np.sum(here == 1)), float(np.mean(there == 1)) * len(here)
    usual, spread = float(there.mean()), float(there.std())
    agreed = float(here.mean())
    if (
        whole > BY_CHANCE * by_chance
        or agreed > usual + ERRORS * spread / np.sqrt(len(here))
        or agreed > (1 + usual) / 2
    ):
        return None
    return agreed, usual


def _agreement(one: Floats, other: Floats) -> float | None:
    """Share of the values that both cases have and that are equal; None where they have none in common."""
    known = ~(np.isnan(one) | np.isnan(other))
    return float(np.mean(np.isclose(one[known], other[known], rtol=1e-6, atol=1e-12))) if known.any() else None


def _with_outcomes(cohort: Cohort, values: Values) -> dict[str, Floats]:
    """Case id to its values, followed by time and event, or by its class."""
    classes = {name: float(i) for i, name in enumerate(sorted(cohort.info.classes))}
    rows = {}
    for case in cohort.cases:
        target = case.target
        if isinstance(target, SurvivalTarget):
            outcome = [target.time, float(target.event)]
        elif target is not None:
            outcome = [classes.get(target.label, np.nan), np.nan]
        else:
            outcome = [np.nan, np.nan]
        rows[case.id] = np.concatenate([values[case.id], outcome])
    return rows
