"""Test predictions of rows with all modalities, joined over the folds of a repeat, beside the follow-up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fusionbench.report.analysis import Analysis
from fusionbench.report.findings.estimates import RowMean, row_means
from fusionbench.report.model import FULL, RowKey, is_oracle, row_key, row_keys, unique
from fusionbench.results.cell_files import probability_column
from fusionbench.results.frames import LABEL, ROW, THRESHOLD

Floats = NDArray[np.float64]

MOST = 6
"""Rows of a cohort that are drawn one by one."""


@dataclass(frozen=True)
class JoinedPredictions:
    """One row's test cases of one repeat.

    Attributes:
        time, event: (case,) months; bool.
        risk: (case,) higher = earlier event; comparable within a fold only.
        fold: (case,) which fold each case was tested in.
        survival: month to (case,) predicted S; empty where the model gives none or it is not stored.
    """

    time: Floats
    event: NDArray[np.bool_]
    risk: Floats
    fold: NDArray[np.int64]
    survival: dict[float, Floats]


@dataclass(frozen=True)
class JoinedClasses:
    """One row's test cases of one repeat, of an endpoint with classes.

    Attributes:
        label: (case,) position of the true class.
        probability: (case, class).
        fold: (case,) which fold each case was tested in.
        threshold: (case,) from which probability a case of its fold counts as positive; NaN where none was chosen.
    """

    label: NDArray[np.int64]
    probability: Floats
    fold: NDArray[np.int64]
    threshold: Floats

    @property
    def has_thresholds(self) -> bool:
        """Whether every fold has a threshold, chosen on its validation cases."""
        return bool(np.isfinite(self.threshold).all())

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(case,) position of the predicted class: by the thresholds, without them the most probable one."""
        if self.has_thresholds:
            return (self.probability[:, 1] >= self.threshold).astype(np.int64)
        return np.asarray(self.probability.argmax(axis=1))


def with_follow_up(analysis: Analysis) -> list[str]:
    """The datasets whose endpoint is survival; figures of curves are about these alone."""
    return [dataset for dataset in unique(analysis.stored.cells["dataset"]) if not analysis.stored.classes(dataset)]


def with_classes(analysis: Analysis) -> list[str]:
    """The datasets whose endpoint has classes."""
    return [dataset for dataset in unique(analysis.stored.cells["dataset"]) if analysis.stored.classes(dataset)]


def best_rows(analysis: Analysis, dataset: str, most: int = MOST) -> list[RowMean]:
    """The best row of each model by mean c, highest first, at most `most`; without the oracle baseline.

    Rows that lack folds come last.
    """
    rows = [m for m in row_means(analysis) if m.row[0] == dataset and not is_oracle(m.row[1])]
    best: dict[str, RowMean] = {}
    for m in sorted(rows, key=lambda m: (not m.complete, -m.mean)):
        best.setdefault(m.row[1], m)
    return list(best.values())[:most]


def joined_predictions(
    analysis: Analysis, dataset: str, rows: Sequence[RowKey]
) -> dict[RowKey, dict[int, JoinedPredictions]]:
    """Row to repeat to its predictions.

    Rows whose test folds overlap, as random splits do, are absent: joined, a patient would count several times.
    """
    of_case, made = _targets(analysis, dataset), dict[RowKey, dict[int, JoinedPredictions]]()
    for row, repeat, part in _joined(analysis, dataset, rows):
        made.setdefault(row, {})[repeat] = _of(part, of_case)
    return made


def joined_classes(
    analysis: Analysis, dataset: str, rows: Sequence[RowKey], classes: Sequence[str]
) -> dict[RowKey, JoinedClasses]:
    """Row to its predictions of the first repeat; rows whose test folds overlap are absent.

    Args:
        classes: in the order of the endpoint; of two the second is the positive one.
    """
    place, labels = {name: i for i, name in enumerate(classes)}, _targets(analysis, dataset)[LABEL]
    columns = [probability_column(name) for name in classes]
    made: dict[RowKey, JoinedClasses] = {}
    thresholds = _thresholds(analysis.stored.cells)
    for row, repeat, part in sorted(_joined(analysis, dataset, rows), key=lambda of: of[1]):
        if row not in made:
            label = np.array([place[labels[case]] for case in part["case"].astype(str)], dtype=np.int64)
            fold = part["fold"].to_numpy(np.int64)
            threshold = np.array([thresholds.get((row, repeat, k), np.nan) for k in fold.tolist()])
            made[row] = JoinedClasses(label, part[columns].to_numpy(np.float64), fold, threshold)
    return made


def _thresholds(cells: pd.DataFrame) -> dict[tuple[RowKey, int, int], float]:
    """Row, repeat and fold to the threshold of the cell; empty where the stored cells have none."""
    if THRESHOLD not in cells.columns:
        return {}
    keys = zip(row_keys(cells), cells["repeat"], cells["fold"], strict=True)
    return dict(zip(keys, cells[THRESHOLD].astype(float), strict=True))


def _targets(analysis: Analysis, dataset: str) -> pd.DataFrame:
    targets = analysis.stored.targets
    return targets[targets["dataset"] == dataset].set_index("case")


def _joined(analysis: Analysis, dataset: str, rows: Sequence[RowKey]) -> Iterator[tuple[RowKey, int, pd.DataFrame]]:
    """The stored test predictions of each row and repeat."""
    stored = analysis.stored.predictions
    chosen = (
        (stored["dataset"] == dataset) & (stored["pattern"] == FULL) & stored["model"].isin({row[1] for row in rows})
    )
    frame = analysis.frames.predictions[chosen.to_numpy()]
    wanted = set(rows)
    for key, part in frame.groupby([*ROW, "repeat"], sort=False, observed=True):
        row, repeat = row_key(key), int(str(key[-1]))
        if row in wanted and not part["case"].duplicated().any():
            yield row, repeat, part


def _of(part: pd.DataFrame, of_case: pd.DataFrame) -> JoinedPredictions:
    known = of_case.reindex(part["case"].astype(str))
    columns = [name for name in part.columns if name.startswith("S_") and part[name].notna().all()]
    return JoinedPredictions(
        time=known["time"].to_numpy(np.float64),
        event=known["event"].to_numpy(bool),
        risk=part["risk"].to_numpy(np.float64),
        fold=part["fold"].to_numpy(np.int64),
        survival={float(name[2:]): part[name].to_numpy(np.float64) for name in columns},
    )


def risk_quarters(of: JoinedPredictions, n: int = 4) -> NDArray[np.int64]:
    """(case,) 0 = lowest to n - 1 = highest predicted risk among the cases of its own fold, in equal parts.

    Risks of different folds are of different models, so cases are ranked within folds; ties keep the order of cases.
    """
    made: NDArray[Any] = np.zeros(len(of.risk), dtype=np.int64)
    for fold in np.unique(of.fold):
        members = np.flatnonzero(of.fold == fold)
        order = np.argsort(of.risk[members], kind="stable")
        made[members[order]] = np.arange(len(members)) * n // len(members)
    return made
