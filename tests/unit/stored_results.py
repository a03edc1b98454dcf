"""Invented results of a suite, in the frames that tables are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import numpy as np
import pandas as pd

from fusionbench.results.frames import (
    CELL_COLUMNS,
    FOLD_COLUMNS,
    HISTORY_COLUMNS,
    PLACE,
    SIZE_COLUMNS,
    TARGET_COLUMNS,
    Frames,
)
from fusionbench.survival.stats import harrell_c

DIRECTIONS: Mapping[str, bool | None] = {"harrell_c_index": True, "ibs": False, "d_calibration": None}


def make_frames(
    skill: Mapping[str, float | Mapping[str, float]],
    *,
    datasets: Sequence[str] = ("toy",),
    variants: Sequence[str] = ("base",),
    patterns: Mapping[str, int] | None = None,
    repeats: int = 1,
    folds: int = 5,
    cases: int = 100,
    seed: int = 0,
    fold_source: str = "generated",
    having: Sequence[str] = ("a+b",),
    modalities: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
) -> Frames:
    """Every model's risk is `skill` times the true risk plus noise; the other metrics are noise around a constant.

    Args:
        skill: model to signal, of all patterns or by pattern; 0 is chance. A model is tested on modalities a+b, or on
            those that its name ends on: `cox on a`.
        patterns: pattern to its number of masks; a model of one modality is tested under `full` only.
        having: the modalities that the first, second, ... case has; again from the start where they end.
        modalities: model to its modalities; "a+b" otherwise.
        names: model to its name in the results, where one name stands with several modalities.
    """
    rng = np.random.default_rng(seed)
    rows: dict[str, list[tuple[object, ...]]] = {"cells": [], "folds": [], "sizes": [], "targets": []}
    predicted: list[tuple[Any, ...]] = []  # a row of columns for each test of a cell, joined once: frames are slow
    for dataset in datasets:
        truth, time, event = _cohort(rng, cases)
        ids = np.asarray([f"p{i:04d}" for i in range(cases)], dtype=object)
        rows["targets"] += list(
            zip([dataset] * cases, ids, ids, time, event, islice(cycle(having), cases), strict=True)
        )
        splits = [np.array_split(rng.permutation(cases), folds) for _ in range(repeats)]
        if fold_source == "published":
            splits = [splits[0]] * repeats
        for variant in variants:
            for repeat in range(repeats):
                for fold in range(folds):
                    test = np.sort(splits[repeat][fold])
                    rows["sizes"].append((dataset, variant, repeat, fold, cases - len(test), len(test), fold_source, 1))
                    for name, signals in skill.items():
                        model, _, alone = name.partition(" on ")
                        sets = alone or (modalities or {}).get(name, "a+b")
                        place = (dataset, (names or {}).get(name, model), sets, variant, repeat, fold)
                        about = ("clean", "ok", "", "native", "default", "full", "patient", "k", 1 + sets.count("+"))
                        rows["cells"].append((*place, *about))
                        tested = {"full": 1} if alone else patterns or {"full": 1}
                        for pattern, draws in tested.items():
                            signal = signals[pattern] if isinstance(signals, Mapping) else signals
                            realised = float(pattern[5:]) if pattern.startswith("rate:") else 0.0
                            risks = [signal * truth[test] + rng.normal(size=len(test)) for _ in range(draws)]
                            c = float(np.mean([harrell_c(time[test], event[test], risk) for risk in risks]))
                            values = (c, rng.normal(0.2, 0.01), rng.uniform())
                            for metric, value in zip(DIRECTIONS, values, strict=True):
                                rows["folds"].append((*place, pattern, metric, value, "", len(test), 0, realised))
                            predicted += [(ids[test], risk, pattern, draw, *place) for draw, risk in enumerate(risks)]
    return Frames(
        cells=pd.DataFrame(rows["cells"], columns=CELL_COLUMNS),
        folds=pd.DataFrame(rows["folds"], columns=FOLD_COLUMNS),
        predictions=_joined(predicted),
        targets=pd.DataFrame(rows["targets"], columns=TARGET_COLUMNS),
        sizes=pd.DataFrame(rows["sizes"], columns=SIZE_COLUMNS),
        splits=pd.DataFrame(),
        history=pd.DataFrame(columns=HISTORY_COLUMNS),
    )


def with_curves(frames: Frames, curves: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]]) -> Frames:
    """Validation curves of every row of a variant.

    Args:
        curves: variant to (losses, c-indices) of each fold, epoch by epoch; the training loss is half the other.
    """
    rows: list[tuple[object, ...]] = []
    for place in frames.cells[PLACE].itertuples(index=False, name=None):
        if place[3] in curves:
            losses, scores = curves[place[3]][place[5]]
            for epoch, (loss, c) in enumerate(zip(losses, scores, strict=True), 1):
                rows.append((*place, epoch, "val", "loss", loss))
                rows.append((*place, epoch, "val", "c_index", c))
                rows.append((*place, epoch, "train", "loss", loss / 2))
    return replace(frames, history=pd.DataFrame(rows, columns=HISTORY_COLUMNS))


def on_other_folds(frames: Frames, variant: str, folds: int = 5) -> Frames:
    """The rows of one variant under other fold numbers: its test folds hold other cases than the others'."""

    def turned(frame: pd.DataFrame) -> pd.DataFrame:
        mine = frame["variant"] == variant
        return frame.assign(fold=frame["fold"].where(~mine, (frame["fold"] + 1) % folds))

    parts = {name: turned(getattr(frames, name)) for name in ("cells", "folds", "predictions", "sizes")}
    return replace(frames, **parts)


def _joined(predicted: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Arrays of cases and risks under one another, with what is the same for all of them beside each."""
    cases, risks, *same = zip(*predicted, strict=True)
    lengths = [len(risk) for risk in risks]
    columns = {"case": np.concatenate(cases), "risk": np.concatenate(risks)}
    for name, values in zip(("pattern", "draw", *PLACE), same, strict=True):
        columns[name] = np.repeat(np.asarray(values, dtype=None if isinstance(values[0], int) else object), lengths)
    return pd.DataFrame(columns)


def _cohort(rng: np.random.Generator, cases: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth = rng.normal(size=cases)
    died, left = rng.exponential(30 * np.exp(-truth)), rng.exponential(30, size=cases)
    return truth, np.minimum(died, left), died <= left
