"""Scores from stored predictions: a further metric, or somebody else's predictions; nothing is trained again."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fusionbench.core.cell_result import PatternPrediction
from fusionbench.core.errors import ResultsError
from fusionbench.core.types import ClassPrediction, ClassTargets, SurvivalPrediction, SurvivalTargets, Targets
from fusionbench.execution.evaluate import score_patterns
from fusionbench.results.cell_files import probability_column
from fusionbench.results.frames import FOLD_COLUMNS, LABEL, PLACE, Frames
from fusionbench.suites.lock import classes_of
from fusionbench.tasks import kind_with

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusionbench.core.interfaces import Metric

    TargetArrays = Targets[NDArray[Any]]

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
    known = frames.targets.astype({"case": object})
    targets = {str(name): of.set_index("case") for name, of in known.groupby("dataset", sort=False)}
    parts = dict(iter(frames.splits.groupby(FOLD, sort=False, observed=True)))
    seen = _seen(frames.folds)
    trained_on: dict[tuple[Hashable, ...], TargetArrays] = {}
    rows: list[dict[str, Any]] = []
    # sorted, and names made Python's own, once instead of in each of hundreds of parts
    predictions = frames.predictions.astype({"case": object}).sort_values("case", kind="stable")
    for key, cell in predictions.groupby(PLACE, sort=False, observed=True):
        place = dict(zip(PLACE, key, strict=True))
        where = tuple(place[name] for name in FOLD)
        if where not in parts:
            raise ResultsError(f"predictions of {' · '.join(map(str, where))} belong to no stored fold")
        tau = _tau(lock, str(place["dataset"]), str(place["variant"]))
        of = targets[str(place["dataset"])]
        classes = classes_of(lock, str(place["dataset"]))
        if where not in trained_on:
            trained_on[where] = stored_targets(of, _cases(parts[where], "train", "val"), classes)
        kind = kind_with(classes).name
        asked = {name: metric for name, metric in metrics.items() if kind in metric.tasks}
        rows += _scored(cell, of, trained_on[where], asked, tau, place, seen, classes)
    return pd.DataFrame(rows, columns=FOLD_COLUMNS)


def _tau(lock: Mapping[str, Any], dataset: str, variant: str) -> float:
    try:
        return float(lock["datasets"][dataset]["tau_months"][variant])
    except KeyError:
        raise ResultsError(f"the lock knows no horizon of {dataset}, variant {variant}; run the suite again") from None


def _cases(split: pd.DataFrame, *parts: str) -> list[str]:
    return list(split.loc[split["part"].isin(parts), "case"])


def stored_targets(of: pd.DataFrame, cases: Sequence[str], classes: Sequence[str]) -> TargetArrays:
    """The outcomes of some cases, in their order.

    Args:
        of: stored targets of one dataset, by case.
        classes: of its endpoint; empty for survival.

    Raises:
        ResultsError: a case is not among them.
    """
    if unknown := set(cases) - set(of.index):
        raise ResultsError(f"case {min(unknown)!r} was predicted, and the stored targets have no such case")
    known = of.loc[list(cases)]
    if classes:
        place = {label: i for i, label in enumerate(classes)}
        return ClassTargets(known[LABEL].map(place).to_numpy(np.int64))
    return SurvivalTargets(
        known["time"].to_numpy(np.float64), known["event"].to_numpy(bool), np.zeros(len(known), dtype=np.int64)
    )


def _scored(
    cell: pd.DataFrame,
    of: pd.DataFrame,
    train: TargetArrays,
    metrics: Mapping[str, Metric],
    tau: float,
    place: Mapping[str, Hashable],
    seen: Mapping[tuple[Hashable, ...], tuple[int, float]],
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    rows = []
    for pattern, part in cell.groupby("pattern", sort=False, observed=True):
        draws = [_prediction(str(pattern), int(str(draw)), d, classes) for draw, d in part.groupby("draw", sort=False)]
        test = stored_targets(of, list(draws[0].prediction.ids), classes)
        for name, metric in metrics.items():
            shown = draws if metric.horizon == "tau" else [_without_curves(d) for d in draws]
            for score in score_patterns({name: metric}, shown, test, train, tau):
                n_prior, realised = seen.get((*(place[p] for p in PLACE), pattern), (0, math.nan))
                scored = {"value": score.value, "reason": score.reason, "n_cases": score.n_cases}
                about = {"n_prior": n_prior, "realised": realised}
                rows.append({**place, "pattern": pattern, "metric": name, **scored, **about})
    return rows


def _prediction(pattern: str, draw: int, frame: pd.DataFrame, classes: Sequence[str]) -> PatternPrediction:
    ids = tuple(map(str, frame["case"]))
    if classes:
        probability = frame[[probability_column(label) for label in classes]].to_numpy(np.float64)
        return PatternPrediction("test", pattern, draw, ClassPrediction(ids, tuple(classes), probability))
    names = [name for name in frame.columns if name.startswith(SURVIVAL)]
    months = np.array([float(name.removeprefix(SURVIVAL)) for name in names])
    curves = frame[names].to_numpy(np.float64)
    has_curves = bool(len(months)) and bool(np.isfinite(curves).all())
    prediction = SurvivalPrediction(
        ids,
        frame["risk"].to_numpy(np.float64),
        np.minimum.accumulate(curves, axis=1) if has_curves else None,  # as rounded, S may rise by a digit
        months if has_curves else None,
    )
    return PatternPrediction("test", pattern, draw, prediction)


def _without_curves(made: PatternPrediction) -> PatternPrediction:
    if not isinstance(made.prediction, SurvivalPrediction):
        return made
    return replace(made, prediction=replace(made.prediction, survival=None, times=None))


def _seen(folds: pd.DataFrame) -> dict[tuple[Hashable, ...], tuple[int, float]]:
    """(cases without a visible modality, share hidden or absent) of each place and pattern, as it was run."""
    firsts = folds.reindex(columns=FOLD_COLUMNS).drop_duplicates([*PLACE, "pattern"])
    keys = firsts[[*PLACE, "pattern"]].itertuples(index=False, name=None)
    scored = zip(firsts["n_prior"].astype(int), firsts["realised"].astype(float), strict=True)
    return dict(zip(keys, scored, strict=True))
