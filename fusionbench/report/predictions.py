"""Stored predictions of a dataset as arrays, one value for each row, pattern and fold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fusionbench.core.errors import ResultsError
from fusionbench.report.model import CheckedFrames, FoldKey, RowKey, row_key
from fusionbench.results.frames import ROW
from fusionbench.survival.stats.concordance import Floats, Ints

RowPattern = tuple[RowKey, str]
"""A table row under one pattern."""


@dataclass(frozen=True)
class FollowUp:
    """Follow-up of a dataset's cases.

    Attributes:
        time, event: (case,) months; bool.
        patient: (case,) which patient each case is of.
        identity: which cohort it is, wherever its files lie; its patients are resampled by it.
    """

    name: str
    cases: tuple[str, ...]
    time: Floats
    event: NDArray[np.bool_]
    patient: Ints
    identity: str


@dataclass(frozen=True)
class FoldPredictions:
    """A row's predictions under one pattern on one test fold.

    Attributes:
        cases: (case,) positions in the cohort, ascending.
        risk: (draw, case) one line for each mask of the pattern.
    """

    line: RowPattern
    fold: FoldKey
    cases: Ints
    risk: Floats


def follow_up_of(stored: CheckedFrames, dataset: str) -> FollowUp:
    """The targets of one dataset, sorted by case.

    Where rows are slides, patients are their groups; elsewhere each case is a patient (a group may be a whole site).

    Raises:
        ResultsError: a case is there twice.
    """
    frame = stored.targets[stored.targets["dataset"] == dataset].sort_values("case")
    twice = frame["case"].duplicated()
    if twice.any():
        raise ResultsError(f"dataset {dataset}: target of case {frame.loc[twice, 'case'].iloc[0]!r} is stored twice")
    slides = (stored.cells.loc[stored.cells["dataset"] == dataset, "unit"] == "slide").any()
    patient = frame["group" if slides else "case"].astype(str).to_numpy(dtype=object)
    return FollowUp(
        name=dataset,
        cases=tuple(frame["case"].astype(str)),
        time=frame["time"].to_numpy(np.float64),
        event=frame["event"].to_numpy(bool),
        patient=np.unique(patient, return_inverse=True)[1].astype(np.int64),
        identity=stored.identity(dataset),
    )


def fold_predictions(predictions: pd.DataFrame, cohort: FollowUp) -> list[FoldPredictions]:
    """Stored predictions of one dataset, one value for each row, pattern and fold.

    Raises:
        ResultsError: a case without target, a case twice, or other cases under another mask of the same pattern.
    """
    frame = predictions[predictions["dataset"] == cohort.name]
    if frame.empty:
        return []
    names = frame["case"].cat
    place = pd.Index(cohort.cases, dtype=object).get_indexer(names.categories.astype(object))[names.codes]
    if (place < 0).any():
        unknown = frame["case"].to_numpy()[place < 0][0]
        raise ResultsError(f"dataset {cohort.name}: predicted case {unknown!r} has no stored target")
    keys = [*ROW, "pattern", "repeat", "fold"]
    number = frame.groupby(keys, sort=False, observed=True).ngroup().to_numpy()
    order = np.lexsort((place, frame["draw"].to_numpy(), number))
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    heads = frame[keys].iloc[order[starts]].itertuples(index=False, name=None)
    risk = frame["risk"].to_numpy(np.float64)
    draw = frame["draw"].to_numpy()
    parts = zip(heads, np.split(order, starts[1:]), strict=True)
    return [_tested(head, place[part], risk[part], draw[part]) for head, part in parts]


def _tested(head: tuple[object, ...], place: Ints, risk: Floats, draw: Ints) -> FoldPredictions:
    n_draws = 1 + int(np.count_nonzero(np.diff(draw)))
    row, pattern, repeat, fold = row_key(map(str, head[:4])), str(head[4]), int(str(head[5])), int(str(head[6]))
    where = f"predictions of {' '.join(row)}, pattern {pattern}, repeat {repeat}, fold {fold}"
    if len(place) % n_draws or (place.reshape(n_draws, -1) != place[: len(place) // n_draws]).any():
        raise ResultsError(f"{where}: the masks do not cover the same cases")
    cases = place[: len(place) // n_draws]
    if (np.diff(cases) <= 0).any():
        raise ResultsError(f"{where}: a case is there twice")
    if not np.isfinite(risk).all():
        raise ResultsError(f"{where}: a risk is NaN or infinite")
    return FoldPredictions((row, pattern), (repeat, fold), cases, risk.reshape(n_draws, -1))


def blocks(parts: Iterable[FoldPredictions], variants: Sequence[str]) -> dict[str, int]:
    """Variant to the number of its block; variants of one block have the same test cases, so their rows are paired."""
    held: dict[str, dict[FoldKey, set[int]]] = {variant: defaultdict(set) for variant in variants}
    for part in parts:
        held[part.line[0][3]][part.fold].update(part.cases.tolist())
    numbers: dict[str, int] = {}
    firsts: list[dict[FoldKey, set[int]]] = []
    for variant, folds in held.items():
        same = [i for i, other in enumerate(firsts) if _same_tests(folds, other)]
        if not same:
            firsts.append(folds)
        numbers[variant] = same[0] if same else len(firsts) - 1
    return numbers


def _same_tests(one: Mapping[FoldKey, set[int]], other: Mapping[FoldKey, set[int]]) -> bool:
    shared = one.keys() & other.keys()
    return bool(shared) and all(one[fold] == other[fold] for fold in shared)


def shared_cases(one: Sequence[FoldPredictions], other: Sequence[FoldPredictions]) -> list[FoldPredictions]:
    """Predictions of two rows on the folds and patients that both have, under the same pattern."""
    places = {(part.line[1], part.fold): part for part in other}
    made = []
    for part in one:
        partner = places.get((part.line[1], part.fold))
        if partner is not None:
            both = np.intersect1d(part.cases, partner.cases, assume_unique=True)
            made += [_restrict(part, both), _restrict(partner, both)]
    return made


def _restrict(part: FoldPredictions, cases: Ints) -> FoldPredictions:
    keep = np.isin(part.cases, cases, assume_unique=True)
    return replace(part, cases=part.cases[keep], risk=part.risk[:, keep])
