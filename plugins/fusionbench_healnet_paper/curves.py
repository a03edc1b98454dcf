"""Training curves of a suite's variants: agreement of loss and c-index, overfitting, and their course."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from fusionbench.report.api import ROW, Analysis, Entry, FoldKey, RowKey, Section, entries, row_key, row_means

SHOWN = 8
"""Epochs of a mean curve that are printed."""

HEADER = ("model", "modalities", "variant", "folds", "agreement", "sd of c", "lowest at epoch", "rise after, %")
NOTES = (
    "agreement: Spearman correlation over epochs of validation loss and validation c-index, mean ± sd over folds; at "
    "-1 every fall of the loss is a rise of c",
    "sd of c: of the test c-index over folds; rise after: last validation loss over the lowest one",
    "losses of different kinds (nll, ce, cox; weighted or not) have different scales: compare their course",
)


@dataclass(frozen=True)
class TrainingSummary:
    """Numbers of a row's training curves, one value a fold.

    Attributes:
        folds: (repeat, fold) of each value.
        agreement: NaN where an epoch is missing or nothing changes.
        lowest: epoch of the lowest validation loss.
        rise: last over lowest validation loss, in per cent above it.
    """

    row: RowKey
    folds: tuple[FoldKey, ...]
    agreement: np.ndarray[Any, np.dtype[np.float64]]
    lowest: np.ndarray[Any, np.dtype[np.float64]]
    rise: np.ndarray[Any, np.dtype[np.float64]]


def trained(lock: Mapping[str, Any]) -> bool:
    """Whether a variant of the suite changes how or what is trained."""
    return any(v.get("train") or v.get("model") for v in lock["suite"].get("variant", []))


def training_summaries(history: pd.DataFrame) -> list[TrainingSummary]:
    """Every row that has a validation curve."""
    of_val = history[(history["split"] == "val") & history["quantity"].isin(["loss", "c_index"])]
    made = []
    for key, of_row in of_val.groupby(ROW, sort=False, observed=True):
        by_fold = {_fold(k): _of_fold(of) for k, of in of_row.groupby(["repeat", "fold"], sort=False)}
        values = {fold: of for fold, of in by_fold.items() if of is not None}
        if values:
            made.append(
                TrainingSummary(row_key(key), tuple(values), *np.array(list(values.values()), dtype=np.float64).T)
            )
    return made


def _fold(key: Iterable[Hashable]) -> FoldKey:
    repeat, fold = (int(str(part)) for part in key)
    return repeat, fold


def _of_fold(of: pd.DataFrame) -> tuple[float, float, float] | None:
    """(agreement, epoch of the lowest loss, rise after it in per cent)."""
    curve = of.pivot(index="epoch", columns="quantity", values="value").sort_index()
    loss = curve["loss"].dropna() if "loss" in curve else pd.Series(dtype=np.float64)
    if loss.empty:
        return None
    lowest = float(loss.min())
    rise = 100 * (float(loss.iloc[-1]) / lowest - 1) if lowest > 0 else np.nan
    return _spearman(curve), float(loss.idxmin()), rise  # type: ignore[arg-type]


def _spearman(curve: pd.DataFrame) -> float:
    both = curve.reindex(columns=["loss", "c_index"]).dropna()
    if len(both) < 3 or (both.nunique() < 2).any():
        return float("nan")
    return float(stats.spearmanr(both["loss"], both["c_index"]).statistic)


def curves(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[Section]:
    """Of suites whose variants change the training; a section a dataset, then the mean curves."""
    if not trained(lock):
        return
    history = analysis.frames.history
    spread = {m.row: m.sd for m in row_means(analysis)}
    found = training_summaries(history)
    for dataset in dict.fromkeys(summary.row[0] for summary in found):
        lines = tuple(_line(c, spread.get(c.row, float("nan"))) for c in found if c.row[0] == dataset)
        yield Section(2, f"Training of {dataset}", "", HEADER, lines, NOTES)
        yield from _means(history[history["dataset"] == dataset])


def _line(summary: TrainingSummary, sd: float) -> tuple[Entry, ...]:
    return entries(
        *summary.row[1:],
        len(summary.lowest),
        _mean_sd(summary.agreement, 2),
        "-" if np.isnan(sd) else f"{sd:.3f}",
        _mean_sd(summary.lowest, 1),
        _mean_sd(summary.rise, 1),
    )


def _mean_sd(values: np.ndarray[Any, np.dtype[np.float64]], digits: int) -> str:
    known = values[np.isfinite(values)]
    if not len(known):
        return "undefined"
    spread = f" ± {known.std(ddof=1):.{digits}f}" if len(known) > 1 else ""
    return f"{known.mean():.{digits}f}{spread}"


def _means(history: pd.DataFrame) -> Iterator[Section]:
    """Mean training and validation loss at a few epochs, where every fold was still training."""
    losses = history[history["quantity"] == "loss"]
    last = int(losses["epoch"].max())
    shown = sorted({round(e) for e in np.linspace(1, last, min(SHOWN, last))})
    lines = []
    for key, of in losses.groupby(["model", "modalities", "variant", "split"], sort=False, observed=True):
        by_epoch = of.groupby("epoch")["value"]
        mean = by_epoch.mean()[by_epoch.size() == by_epoch.size().max()]
        lines.append(entries(*key, *(f"{mean[e]:.3f}" if e in mean.index else "-" for e in shown)))
    note = "mean loss at these epochs, where every fold was still training; train as trained, without L1"
    header = ("model", "modalities", "variant", "loss", *map(str, shown))
    yield Section(3, "Mean curves", "", header, tuple(lines), (note,))
