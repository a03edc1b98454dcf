"""Keys of rows and means, the checked frames that tables are made from, and the table itself."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from fusionbench.core.errors import ResultsError
from fusionbench.results.cell_files import is_probability
from fusionbench.results.frames import LABEL, PLACE, ROW, SIZE_COLUMNS, Frames

RowKey = tuple[str, str, str, str]
"""Key of a table row: dataset, model, modalities, variant."""

Configuration = tuple[str, str, str]
"""Model, modalities, variant: the same on every dataset."""

MeanKey = tuple[RowKey, str, str]
"""Key of a mean of the table: row, pattern, metric."""

FoldKey = tuple[int, int]
"""(repeat, fold)."""

ORACLE = "oracle"
HARRELL = "harrell_c_index"
AUROC = "auroc"
AUPRC = "auprc"
RANKINGS = (HARRELL, AUROC)
"""Shares of pairs of cases that are ordered rightly, one a kind of endpoint: they have bootstrap intervals and rank."""
SHORT_NAMES = {HARRELL: "c-index", "uno_c_index": "Uno's c", AUROC: "AUROC"}
"""Metric to its name where there is little room."""
BELIEVABLE: Mapping[str, float] = {HARRELL: 0.97, "uno_c_index": 0.97, AUROC: 0.999}
"""Metric to the highest test mean that is believed.

No follow-up is predicted better without a leak. Some classes lie far apart: of tumours measured under a microscope the
AUROC for benign against malignant reaches 0.995; without an error they are told apart by an input that knows the class.
"""
FEW_OUTCOMES = 10
"""With fewer patients that have an event, or are of the rarest class, nothing is tested and no interval is given.

A normal approximation and resampling rest on such patients: with one event in twelve patients, nearly every draw holds
the same few comparable pairs, and a difference of two rows seems certain. External validation is said to need 100
events (Collins, Ogundimu and Altman 2016); below ten there is nothing to be said of a difference.
"""
IMPORTED = "imported"
"""Policy of the rows whose predictions were brought as a file."""
FULL = "full"
RISK = "risk"

TABLE_COLUMNS = (
    *("dataset", "model", "modalities", "protocol", "pattern", "metric", "mean", "sd", "ci_low", "ci_high"),
    *("n_folds", "n_failed", "tie_group", "variant", "train_pattern", "policy", "tuned", "n_repeats", "n_cases"),
    *("n_skipped", "unit"),
)
"""Of table.csv. n_folds counts the fold values behind the mean (folds x repeats), n_cases the cases of one repeat."""

PAIR_COLUMNS = (
    *("dataset", "pattern", "metric", "model_a", "modalities_a", "variant_a", "model_b", "modalities_b", "variant_b"),
    *("mean_a", "mean_b", "difference", "ci_low", "ci_high", "se", "df", "p", "p_holm", "detectable"),
    *("n_folds", "reason"),
)
"""Of a comparison of two rows on the folds both have; difference = a - b, detectable = 2.8 se."""

_NEEDED = {
    "cells": [*PLACE, "protocol", "status", "reason", "policy", "tuned", "train_pattern", "unit"],
    "folds": [*ROW, "repeat", "fold", "pattern", "metric", "value", "reason", "n_cases", "n_prior"],
    "predictions": [*ROW, "repeat", "fold", "pattern", "draw", "case"],
    "targets": ["dataset", "case", "group", "time", "event"],
    "sizes": SIZE_COLUMNS,
}


class FoldCount(NamedTuple):
    """Folds behind a number, and folds planned, both over all repeats."""

    n_folds: int
    n_wanted: int

    def __str__(self) -> str:
        return f"{self.n_folds} of {self.n_wanted} folds"


@dataclass(frozen=True)
class FoldPlan:
    """The test folds of a dataset under one variant.

    Attributes:
        source: of the folds: generated, random or published; with `+` between them where they differ.
        test_to_train: fold to n_test / n_train, where n_train counts validation cases too.
        sd_ddof: of the sd over folds.
    """

    source: str
    test_to_train: Mapping[FoldKey, float]
    sd_ddof: int = 1

    @property
    def published(self) -> bool:
        """Whether folds are the cohort's own, so that repeats are no new folds."""
        return "published" in self.source


@dataclass(frozen=True)
class CheckedFrames:
    """The frames (`Frames`) of a suite after a check of columns and references, with the directions of its metrics.

    Attributes:
        folds: folds.csv.
        plans: (dataset, variant) to its test folds.
        directions: metric to higher_is_better, in the order of the table's columns; None is never ranked.
        identities: dataset to the cohort's identity, by which resampling is seeded; of others it is their name.
        known_classes: dataset to the classes of its models, where its cases may not be of all of them.
    """

    cells: pd.DataFrame
    folds: pd.DataFrame
    predictions: pd.DataFrame
    targets: pd.DataFrame
    plans: Mapping[tuple[str, str], FoldPlan]
    directions: Mapping[str, bool | None]
    identities: Mapping[str, str] = field(default_factory=dict)
    known_classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def identity(self, dataset: str) -> str:
        """Which cohort a dataset is, wherever its files lie."""
        return self.identities.get(dataset, dataset)

    def classes(self, dataset: str) -> tuple[str, ...]:
        """The classes of a dataset's cases, sorted by name; none where its endpoint is survival."""
        return self._classes.get(dataset, ())

    @cached_property
    def _classes(self) -> Mapping[str, tuple[str, ...]]:
        if LABEL not in self.targets.columns:
            return dict(self.known_classes)
        labels = self.targets[LABEL].fillna("").astype(str).groupby(self.targets["dataset"].astype(str))
        return {str(dataset): tuple(sorted({*of} - {""})) for dataset, of in labels} | dict(self.known_classes)

    def ranking(self, dataset: str) -> str:
        """The metric of a dataset that counts pairs: Harrell's c, or the AUROC where it has classes."""
        return AUROC if self.classes(dataset) else HARRELL

    def too_few(self, dataset: str) -> str:
        """Why nothing is tested: `3 patients with an event, fewer than 10`; empty where there are enough."""
        return self._too_few.get(dataset, "")

    @cached_property
    def _too_few(self) -> Mapping[str, str]:
        slides = set(self.cells.loc[self.cells["unit"] == "slide", "dataset"].astype(str))
        found = {}
        for name, targets in self.targets.groupby(self.targets["dataset"].astype(str), sort=False):
            dataset = str(name)
            patients = targets.drop_duplicates("group" if dataset in slides else "case")
            counts = {"with an event": int(patients["event"].sum())}
            if classes := self.classes(dataset):
                counts = {f"of class {label}": int((patients[LABEL] == label).sum()) for label in classes}
            what, fewest = min(counts.items(), key=lambda count: count[1])
            if fewest < FEW_OUTCOMES:
                noun = "patient" if fewest == 1 else "patients"
                found[dataset] = f"{fewest} {noun} {what}, fewer than {FEW_OUTCOMES}"
        return found

    def prevalence(self, dataset: str) -> dict[str, float]:
        """Class to the share of the dataset's cases that are of it; none where its endpoint is survival."""
        classes = self.classes(dataset)
        if not classes:
            return {}
        labels = self.targets.loc[self.targets["dataset"] == dataset, LABEL]
        return {name: float((labels == name).mean()) for name in classes}

    @classmethod
    def of(
        cls, frames: Frames, directions: Mapping[str, bool | None], identities: Mapping[str, str] = MappingProxyType({})
    ) -> CheckedFrames:
        """The frames after the check.

        Raises:
            ResultsError: a frame lacks a column, or scores name a row or metric that is not there.
        """
        for name, wanted in _NEEDED.items():
            absent = [column for column in wanted if column not in getattr(frames, name).columns]
            if absent:
                raise ResultsError(f"stored {name} have no column {', '.join(absent)}; run the suite again")
        known = set(row_keys(frames.cells))
        predictions = _compact(frames.predictions[[*_NEEDED["predictions"], *_said(frames.predictions)]])
        for frame in (frames.folds, predictions):
            unknown_rows = set(row_keys(frame[ROW].drop_duplicates())) - known
            if unknown_rows:
                raise ResultsError(f"scores or predictions name a row without cells: {' · '.join(min(unknown_rows))}")
        unknown = set(frames.folds["metric"]) - set(directions)
        if unknown:
            raise ResultsError(f"scores name metric {min(unknown)!r}; no installed plugin has it")
        cells, folds = (f.assign(reason=f["reason"].fillna("").astype(str)) for f in (frames.cells, frames.folds))
        plans = _plans(frames.sizes)
        unplanned = {(row[0], row[3]) for row in known} - plans.keys()
        if unplanned:
            raise ResultsError(f"no fold sizes are stored for dataset and variant {' · '.join(min(unplanned))}")
        return cls(cells, folds, predictions, frames.targets, plans, directions, identities)


def _said(predictions: pd.DataFrame) -> list[str]:
    """The columns of what is predicted: the risk, and a probability of each class.

    Raises:
        ResultsError: there is none.
    """
    said = [str(name) for name in predictions.columns if name == RISK or is_probability(str(name))]
    if not said:
        raise ResultsError(f"stored predictions have no column {RISK}; run the suite again")
    return said


def _compact(predictions: pd.DataFrame) -> pd.DataFrame:
    """Names as categories: there may be a million predictions, and each of few names is compared often."""
    return predictions.astype(dict.fromkeys((*ROW, "pattern", "case"), "category"))


def _plans(sizes: pd.DataFrame) -> dict[tuple[str, str], FoldPlan]:
    plans: dict[tuple[str, str], FoldPlan] = {}
    for (dataset, variant), part in sizes.groupby(["dataset", "variant"], observed=True):
        folds = zip(part["repeat"].astype(int), part["fold"].astype(int), strict=True)
        ratios = dict(zip(folds, (part["n_test"] / part["n_train"]).astype(float), strict=True))
        source = "+".join(unique(part["fold_source"]))
        plans[str(dataset), str(variant)] = FoldPlan(source, ratios, int(part["sd_ddof"].iloc[0]))
    return plans


@dataclass(frozen=True)
class ProtocolSummary:
    """How the rows of a dataset were evaluated under one variant: protocol, unit and folds."""

    dataset: str
    variant: str
    protocol: str
    unit: str
    repeats: int
    folds: int
    fold_source: str
    sd_ddof: int = 1

    @property
    def published(self) -> bool:
        """Whether folds are the cohort's own."""
        return "published" in self.fold_source


@dataclass(frozen=True)
class ComparisonTable:
    """Means, tests and notes of a suite, ready to be rendered.

    Attributes:
        rows: TABLE_COLUMNS, in the order of the cells; a row without any score has NaN under pattern `full`.
        directions: metric to higher_is_better, in the order of the columns; None is never ranked.
        tests: PAIR_COLUMNS, each other row (b) against the best (a) of its dataset, pattern and metric; p_holm is NaN
            of rows that lack folds.
        best: keys of the best means; only where two or more rows are ranked.
        incomplete: means over fewer folds than were planned, with how many; they are compared and not ranked.
        unsuccessful: ROW, status (failed or skipped), reason, n_cells.
        undefined: ROW, pattern, metric, reason, n_folds: values that are missing from the means.
        partly_undefined: the same columns, of means over the defined ones among a pattern's draws.
        progress: dataset to (cells that are there, cells wanted).
        redrawn: dataset to bootstrap draws thrown away for want of a comparable pair.
        no_interval: dataset to why there are no intervals of Harrell's c or the AUROC.
        draws: of the bootstrap.
        prevalence: dataset to class to the share of its cases that are of it; only of endpoints with classes.
    """

    rows: pd.DataFrame
    directions: Mapping[str, bool | None]
    tests: pd.DataFrame
    best: frozenset[MeanKey]
    incomplete: Mapping[MeanKey, FoldCount]
    protocols: tuple[ProtocolSummary, ...]
    unsuccessful: pd.DataFrame
    undefined: pd.DataFrame
    partly_undefined: pd.DataFrame
    progress: Mapping[str, tuple[int, int]]
    redrawn: Mapping[str, int]
    no_interval: Mapping[str, str]
    draws: int
    prevalence: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def row_keys(frame: pd.DataFrame) -> list[RowKey]:
    """The row key of each line of a frame."""
    dataset, model, modalities, variant = (frame[name].astype(str) for name in ROW)
    return list(zip(dataset, model, modalities, variant, strict=True))


def row_key(key: Iterable[Hashable]) -> RowKey:
    """The row key that a group's key begins with."""
    dataset, model, modalities, variant, *_ = (str(part) for part in key)
    return dataset, model, modalities, variant


def configuration_of(row: RowKey) -> Configuration:
    """A row without its dataset."""
    return row[1], row[2], row[3]


def unique(column: pd.Series[Any]) -> list[str]:
    """The different values of a column as text, in order of appearance."""
    return list(dict.fromkeys(column.astype(str)))


def is_oracle(model: str) -> bool:
    """Whether a model is the oracle baseline (true hazards), which is shown and never ranked."""
    return model.partition("[")[0] == ORACLE
