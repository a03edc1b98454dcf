"""Stored predictions of a dataset as arrays, one value for each row, pattern and fold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fusionbench.core.endpoints import ClassPrediction
from fusionbench.core.errors import ResultsError
from fusionbench.report.model import RISK, CheckedFrames, FoldKey, RowKey, row_key
from fusionbench.results.cell_files import probability_column
from fusionbench.results.frames import LABEL, ROW
from fusionbench.survival.stats import Pairs, comparable_pairs
from fusionbench.survival.stats.concordance import Floats, Ints
from fusionbench.tasks.ranking import class_pairs

RowPattern = tuple[RowKey, str]
"""A table row under one pattern."""


@dataclass(frozen=True)
class FollowUp:
    """Outcomes of a dataset's cases: follow-up, or classes.

    Attributes:
        time, event: (case,) months; bool. NaN and False where the endpoint has classes.
        label: (case,) position in `classes`; empty for survival.
        classes: names of the classes, sorted; empty for survival.
        patient: (case,) which patient each case is of.
        identity: which cohort it is, wherever its files lie; its patients are resampled by it.
        too_few: why there are too few outcomes to resample; empty where there are enough.
    """

    name: str
    cases: tuple[str, ...]
    time: Floats
    event: NDArray[np.bool_]
    patient: Ints
    identity: str
    label: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    classes: tuple[str, ...] = ()
    too_few: str = ""

    def pairs(self, cases: Ints) -> list[Pairs]:
        """The pairs of each ranking of some cases, by position: one for survival and for two classes."""
        if self.classes:
            return class_pairs(self.label[cases], len(self.classes))
        return [comparable_pairs(self.time[cases], self.event[cases])]


@dataclass(frozen=True)
class FoldPredictions:
    """A row's predictions under one pattern on one test fold.

    Attributes:
        cases: (case,) positions in the cohort, ascending.
        scores: (ranking, draw, case) what cases are ranked by, one line for each mask of the pattern: the risk, or log
            odds of classes; as many rankings as `FollowUp.pairs` gives.
    """

    line: RowPattern
    fold: FoldKey
    cases: Ints
    scores: Floats


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
    classes = stored.classes(dataset)
    place = {label: i for i, label in enumerate(classes)}
    patient = frame["group" if slides else "case"].astype(str).to_numpy(dtype=object)
    return FollowUp(
        name=dataset,
        cases=tuple(frame["case"].astype(str)),
        time=np.full(len(frame), np.nan) if classes else frame["time"].to_numpy(np.float64),
        event=np.zeros(len(frame), dtype=bool) if classes else frame["event"].to_numpy(bool),
        label=np.array([place[label] for label in frame[LABEL]] if classes else [], dtype=np.int64),
        classes=classes,
        patient=np.unique(patient, return_inverse=True)[1].astype(np.int64),
        identity=stored.identity(dataset),
        too_few=stored.too_few(dataset),
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
    scores = _scores(frame, cohort)
    draw = frame["draw"].to_numpy()
    parts = zip(heads, np.split(order, starts[1:]), strict=True)
    return [_tested(head, place[part], scores[part], draw[part]) for head, part in parts]


def _scores(frame: pd.DataFrame, cohort: FollowUp) -> Floats:
    """(row, ranking) what the cases are ranked by."""
    if not cohort.classes:
        return frame[[RISK]].to_numpy(np.float64)
    probability = frame[[probability_column(label) for label in cohort.classes]].to_numpy(np.float64)
    return ClassPrediction(("",) * len(frame), cohort.classes, probability).scores


def _tested(head: tuple[object, ...], place: Ints, scores: Floats, draw: Ints) -> FoldPredictions:
    n_draws = 1 + int(np.count_nonzero(np.diff(draw)))
    row, pattern, repeat, fold = row_key(map(str, head[:4])), str(head[4]), int(str(head[5])), int(str(head[6]))
    where = f"predictions of {' '.join(row)}, pattern {pattern}, repeat {repeat}, fold {fold}"
    if len(place) % n_draws or (place.reshape(n_draws, -1) != place[: len(place) // n_draws]).any():
        raise ResultsError(f"{where}: the masks do not cover the same cases")
    cases = place[: len(place) // n_draws]
    if (np.diff(cases) <= 0).any():
        raise ResultsError(f"{where}: a case is there twice")
    if not np.isfinite(scores).all():
        raise ResultsError(f"{where}: a risk is NaN or infinite, or a probability is NaN")
    by_draw = np.moveaxis(scores.reshape(n_draws, len(cases), -1), -1, 0)
    return FoldPredictions((row, pattern), (repeat, fold), cases, by_draw)


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
    return replace(part, cases=part.cases[keep], scores=part.scores[..., keep])
