"""Scores from stored predictions: a further metric, or somebody else's predictions; nothing is trained again."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fusionbench.core.cell_result import PatternPrediction
from fusionbench.core.errors import ResultsError
from fusionbench.core.types import ClassPrediction, ClassTargets, SurvivalPrediction, SurvivalTargets, Targets
from fusionbench.execution.evaluate import score_patterns
from fusionbench.report.model import RISK
from fusionbench.results.cell_files import is_probability, probability_column
from fusionbench.results.frames import FOLD_COLUMNS, LABEL, PLACE, Frames, with_outcome
from fusionbench.suites.cell import cohorts_of
from fusionbench.suites.lock import classes_of
from fusionbench.tasks import kind_with

if TYPE_CHECKING:
    from fusionbench.core.metric import Metric

    TargetArrays = Targets[NDArray[Any]]
    Rows = NDArray[np.intp]
    Places = dict[tuple[Hashable, ...], dict[str, dict[int, Rows]]]

SURVIVAL = "S_"
FOLD = ["dataset", "variant", "repeat", "fold"]


def rescore(frames: Frames, lock: Mapping[str, Any], metrics: Mapping[str, Metric]) -> pd.DataFrame:
    """FOLD_COLUMNS of `metrics` for every row, pattern and fold of the stored predictions.

    Curves are stored on the dataset's time grid. A metric that wants a model's own times (`horizon = "own"`) is given
    the risk alone, and is undefined where it needs curves.

    Args:
        lock: of the run; it knows each dataset's horizon.

    Raises:
        ResultsError: the frames and the lock do not fit together.
    """
    stored, seen = _Stored.of(frames.predictions), _seen(frames.folds)
    outcomes = {
        str(name): StoredOutcomes.of(str(name), of, classes_of(lock, str(name)))
        for name, of in frames.targets.groupby("dataset")
    }
    parts = dict(iter(frames.splits.groupby(FOLD, sort=False, observed=True)))
    trained_on: dict[tuple[Hashable, ...], TargetArrays] = {}
    rows: list[dict[str, Any]] = []
    for key, patterns in stored.places.items():
        place = dict(zip(PLACE, key, strict=True))
        where = tuple(place[name] for name in FOLD)
        if where not in parts:
            raise ResultsError(f"predictions of {' · '.join(map(str, where))} belong to no stored fold")
        tau = _tau(lock, str(place["dataset"]), str(place["variant"]))
        of = outcomes[str(place["dataset"])]
        if where not in trained_on:
            trained_on[where] = of.targets(_cases(parts[where], "train", "val"))
        kind = kind_with(of.classes).name
        asked = {name: metric for name, metric in metrics.items() if kind in metric.tasks}
        for pattern, draws in patterns.items():
            made = [stored.prediction(index, pattern, draw, of.classes) for draw, index in draws.items()]
            n_prior, realised = seen.get((*key, pattern), (0, math.nan))
            about = {"n_prior": n_prior, "realised": realised}
            scored = _scored(made, of.targets(made[0].prediction.ids), trained_on[where], asked, tau)
            rows += [{**place, **score, **about} for score in scored]
    return pd.DataFrame(rows, columns=FOLD_COLUMNS)


def rescore_external(frames: Frames, lock: Mapping[str, Any], metrics: Mapping[str, Metric]) -> pd.DataFrame:
    """FOLD_COLUMNS of `metrics` for what was predicted of external cohorts, of the cases with an outcome.

    Args:
        frames: of a suite with external cohorts.
        lock: of the run.

    Raises:
        ResultsError: the frames and the lock do not fit together.
    """
    outside = frames.external
    assert outside is not None
    names = list(dict.fromkeys(outside.cells["dataset"].astype(str)))
    fitted_on = {name: cohorts_of(name)[0] for name in names}

    def of_training(frame: pd.DataFrame) -> pd.DataFrame:
        """Training cases under the name of each test: other cases than the tested ones, whatever their ids."""
        parts = [
            of.assign(dataset=name, case="training:" + of["case"].astype(str))
            for name, train in fitted_on.items()
            for of in [frame[frame["dataset"].astype(str) == train]]
        ]
        return pd.concat(parts, ignore_index=True)

    splits = of_training(frames.splits[frames.splits["part"] != "test"])
    targets = pd.concat([outside.targets, of_training(frames.targets)], ignore_index=True)
    made = with_outcome(outside.predictions, outside.targets)
    datasets = {name: lock["datasets"].get(train, {}) for name, train in fitted_on.items()}
    together = replace(outside, splits=splits, targets=targets, predictions=made, external=None)
    return rescore(together, {**lock, "datasets": datasets}, metrics)


def _tau(lock: Mapping[str, Any], dataset: str, variant: str) -> float:
    try:
        return float(lock["datasets"][dataset]["tau_months"][variant])
    except KeyError:
        raise ResultsError(f"the lock knows no horizon of {dataset}, variant {variant}; run the suite again") from None


def _cases(split: pd.DataFrame, *parts: str) -> list[str]:
    return list(split.loc[split["part"].isin(parts), "case"])


def _scored(
    draws: Sequence[PatternPrediction],
    test: TargetArrays,
    train: TargetArrays,
    metrics: Mapping[str, Metric],
    tau: float,
) -> Iterator[dict[str, Any]]:
    """Scores of one pattern, in the order of `metrics`."""
    to_tau = {name: metric for name, metric in metrics.items() if metric.horizon == "tau"}
    own = {name: metric for name, metric in metrics.items() if name not in to_tau}
    scores = score_patterns(to_tau, draws, test, train, tau)
    scores += score_patterns(own, [_without_curves(d) for d in draws], test, train, tau)
    by_metric = {score.metric: score for score in scores}
    for name in metrics:
        score = by_metric[name]
        scored = {"value": score.value, "reason": score.reason, "n_cases": score.n_cases}
        yield {"pattern": score.pattern, "metric": name, **scored}


def _without_curves(made: PatternPrediction) -> PatternPrediction:
    if not isinstance(made.prediction, SurvivalPrediction):
        return made
    return replace(made, prediction=replace(made.prediction, survival=None, times=None))


@dataclass(frozen=True)
class StoredOutcomes:
    """Targets of a dataset's cases.

    Attributes:
        position: of each case among all.
        everyone: targets of all cases.
        classes: names of the classes; empty for survival.
    """

    position: Mapping[str, int]
    everyone: TargetArrays
    classes: Sequence[str]

    @classmethod
    def of(cls, dataset: str, known: pd.DataFrame, classes: Sequence[str]) -> StoredOutcomes:
        """From the stored targets of one dataset.

        Raises:
            ResultsError: a case is there twice.
        """
        position = {str(case): i for i, case in enumerate(known["case"])}
        if len(position) < len(known):
            twice = known.loc[known["case"].duplicated(), "case"].iloc[0]
            raise ResultsError(f"dataset {dataset}: target of case {twice!r} is stored twice")
        if classes:
            place = {label: i for i, label in enumerate(classes)}
            return cls(position, ClassTargets(known[LABEL].map(place).to_numpy(np.int64)), classes)
        time, event = known["time"].to_numpy(np.float64), known["event"].to_numpy(bool)
        return cls(position, SurvivalTargets(time, event, np.zeros(len(known), dtype=np.int64)), classes)

    def targets(self, cases: Sequence[str]) -> TargetArrays:
        """Targets of some cases, in their order.

        Raises:
            ResultsError: a case has none.
        """
        if unknown := set(cases) - self.position.keys():
            raise ResultsError(f"case {min(unknown)!r} was predicted, and the stored targets have no such case")
        rows = [self.position[case] for case in cases]
        return self.everyone.map(lambda values: values[rows])


@dataclass(frozen=True)
class _Stored:
    """Stored predictions as arrays: thousands of parts are taken of them, which costs far more of a data frame.

    Attributes:
        case: (row,) case ids.
        columns: names of the columns of `values`.
        values: (row, column) risk, S or probabilities.
        places: PLACE to pattern to draw to its rows, sorted by case.
    """

    case: NDArray[np.object_]
    columns: Sequence[str]
    values: NDArray[np.float64]
    places: Places

    @classmethod
    def of(cls, predictions: pd.DataFrame) -> _Stored:
        code, names = pd.factorize(predictions["case"], sort=True, use_na_sentinel=False)
        case = np.array([str(name) for name in names], dtype=object)[code]
        columns = [c for c in predictions.columns if c == RISK or c.startswith(SURVIVAL) or is_probability(c)]
        return cls(case, columns, predictions[columns].to_numpy(np.float64), _places(predictions, code))

    def prediction(self, rows: Rows, pattern: str, draw: int, classes: Sequence[str]) -> PatternPrediction:
        """What was predicted in some rows."""
        ids = tuple(self.case[rows])
        if classes:
            probability = self._values(rows, [probability_column(label) for label in classes])
            return PatternPrediction("test", pattern, draw, ClassPrediction(ids, tuple(classes), probability))
        names = [name for name in self.columns if name.startswith(SURVIVAL)]
        curves = self._values(rows, names)
        has_curves = bool(names) and bool(np.isfinite(curves).all())
        prediction = SurvivalPrediction(
            ids,
            self._values(rows, [RISK])[:, 0],
            np.minimum.accumulate(curves, axis=1) if has_curves else None,  # as rounded, S may rise by a digit
            np.array([float(name.removeprefix(SURVIVAL)) for name in names]) if has_curves else None,
        )
        return PatternPrediction("test", pattern, draw, prediction)

    def _values(self, rows: Rows, names: Sequence[str]) -> NDArray[np.float64]:
        """(row, name) of some rows and columns."""
        return self.values[rows][:, [self.columns.index(name) for name in names]]


def _places(predictions: pd.DataFrame, case: Rows) -> Places:
    """PLACE to pattern to draw to its rows, sorted by case; in the order in which they are met in rows sorted by case.

    Args:
        case: (row,) position of the row's case among the sorted cases.
    """
    if predictions.empty:
        return {}
    keys = [*PLACE, "pattern", "draw"]
    by_case = np.argsort(case, kind="stable")
    part = predictions.groupby(keys, sort=False, observed=True, dropna=False).ngroup().to_numpy()[by_case]
    part, _ = pd.factorize(part)
    order = by_case[np.argsort(part, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(part))[:-1]])
    heads = predictions[keys].iloc[order[starts]].itertuples(index=False, name=None)
    places: Places = {}
    for (*place, pattern, draw), rows in zip(heads, np.split(order, starts[1:]), strict=True):
        places.setdefault(tuple(place), {}).setdefault(str(pattern), {})[int(draw)] = rows
    return places


def _seen(folds: pd.DataFrame) -> dict[tuple[Hashable, ...], tuple[int, float]]:
    """(cases without a visible modality, share hidden or absent) of each place and pattern, as it was run."""
    firsts = folds.reindex(columns=FOLD_COLUMNS).drop_duplicates([*PLACE, "pattern"])
    keys = firsts[[*PLACE, "pattern"]].itertuples(index=False, name=None)
    scored = zip(firsts["n_prior"].astype(int), firsts["realised"].astype(float), strict=True)
    return dict(zip(keys, scored, strict=True))
