"""Predict a cohort's cases with rows of a suite's table: one row, or every row of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from fusionbench.core.commands import command
from fusionbench.core.errors import DataError, ResultsError, SuiteError, did_you_mean
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.data.protocol_view import JOIN
from fusionbench.report.model import ORACLE, RowKey, row_keys, unique
from fusionbench.results.frames import Frames, read_frames
from fusionbench.results.store import Store
from fusionbench.suites.lock import read_lock
from fusionbench.suites.suite import BASE
from fusionbench.tools.cohort_scores import CohortScore, cohort_scores, training_outcomes
from fusionbench.tools.explain.select import refuse_published
from fusionbench.tools.find_cell import find_cell
from fusionbench.tools.find_suite import find_suite
from fusionbench.tools.predict import CohortPrediction, predict_cells

if TYPE_CHECKING:
    from fusionbench.execution.shared import SharedResources


@dataclass(frozen=True)
class RowRequest:
    """Rows of a suite's table.

    Attributes:
        suite: name of the suite, or path of its file.
        model: as the table names it; None = every model.
        modalities: of the row; empty = the largest set that the model has, or every set where no model is named.
        dataset: on which the models were trained; needed where the suite has several.
        variant: of the suite; None = `base`, or the only one.
    """

    suite: str
    model: str | None = None
    modalities: tuple[str, ...] = ()
    dataset: str | None = None
    variant: str | None = None


@dataclass(frozen=True, eq=False)
class PredictedRow:
    """A row, or a single cell, on a cohort.

    Attributes:
        row: dataset, model, modalities and variant of the fitted models.
        n_models: fitted models, one for each fold.
        frame: one row a case; see `CohortPrediction.frame`.
        scores: of each metric; empty where nothing could be scored.
        notes: what a reader should know, one line each.
        reason: why the row cannot predict; the frame is empty then.
    """

    row: RowKey
    n_models: int
    frame: pd.DataFrame
    scores: tuple[CohortScore, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""


def predict_cell(resources: SharedResources, out: Path, key: str, cohort_ref: PluginRef) -> PredictedRow:
    """What one stored cell predicts of every case of a cohort, with its scores where outcomes are known.

    Raises:
        ResultsError: no such cell, or it cannot predict. SuiteError, DataError: the cohort does not fit it.
    """
    store, name = find_cell(out, key)
    predicted = predict_cells(resources, store, [name], cohort_ref)
    about = store.record(name)["record"]["cell"]
    row = (about["dataset"], about["model"], about["modalities"], about["variant"])
    return _scored(resources, store, row, predicted, _frames_of(store))


def predict_rows(
    resources: SharedResources,
    out: Path,
    request: RowRequest,
    cohort_ref: PluginRef,
    report: Callable[[str], None] | None = None,
) -> list[PredictedRow]:
    """What the fold models of each requested row predict of every case of a cohort, and their mean.

    A row that does not fit the cohort has a reason; if none fits, the first reason is raised.

    Args:
        report: called with a line for each row that is done.

    Raises:
        SuiteError: the suite has no such row. ResultsError: its run has not finished, or its results were published.
        DataError: the cohort fits no row.
    """
    found = find_suite(request.suite, out, resources.registry)
    refuse_published(found)
    frames = _frames_of(found.store)
    if frames is None:
        again = command(out, "run", found.store.suite)
        raise ResultsError(f"{found.store.folder}: the suite's run has not finished; finish it with: {again}")
    made = []
    for row, keys in _requested(frames, request).items():
        try:
            predicted = predict_cells(resources, found.store, keys, cohort_ref)
        except (SuiteError, DataError) as error:
            if request.model is not None:
                raise
            made.append(PredictedRow(row, len(keys), pd.DataFrame(), reason=str(error)))
        else:
            made.append(_scored(resources, found.store, row, predicted, frames))
        if report is not None:
            report(f"{' · '.join(row[:3])}: {made[-1].reason or f'{len(made[-1].frame)} cases'}")
    if all(one.reason for one in made):
        raise DataError(made[0].reason)
    return made


def _frames_of(store: Store) -> Frames | None:
    """What a finished run has written beside its cells; None before that."""
    return read_frames(store.folder) if store.has_file("cells.csv") else None


def _scored(
    resources: SharedResources, store: Store, row: RowKey, predicted: CohortPrediction, frames: Frames | None
) -> PredictedRow:
    frame, notes, n_models = predicted.frame(), [*predicted.differences], len(predicted.of_models)
    if frames is None:
        again = command(store.root, "run", store.suite)
        notes.append(f"not scored: outcomes of the training cases are stored once the suite has finished: {again}")
        return PredictedRow(row, n_models, frame, notes=tuple(notes))
    suite = read_lock(store.folder)["suite"]
    names = sorted(predicted.metrics, key=lambda name: _place(suite["metrics"], name))
    metrics, seed = {name: resources.registry.metric(name)() for name in names}, int(suite["seed"])
    training = training_outcomes(frames, predicted)
    scores, about = cohort_scores(predicted, training, metrics, seed=seed)
    return PredictedRow(row, n_models, frame, tuple(scores), (*notes, *about))


def _place(listed: Sequence[str], name: str) -> int:
    """Where the suite lists a metric; metrics that were added to its results later come last."""
    return listed.index(name) if name in listed else len(listed)


def _requested(frames: Frames, request: RowRequest) -> dict[RowKey, list[str]]:
    """Each requested row with the keys of its cells."""
    cells = _of_dataset(frames.cells, request)
    ran = cells[(cells["status"] == "ok") & ~cells["model"].str.startswith(ORACLE)]
    if request.model is not None:
        wanted = str(PluginRef.parse(request.model))
        if wanted not in set(ran["model"]):
            raise SuiteError(did_you_mean("model of this suite", wanted, unique(ran["model"])))
        ran = ran[ran["model"] == wanted]
    ran = _of_modalities(ran, request)
    rows: dict[RowKey, list[str]] = {}
    for row, key in zip(row_keys(ran), ran["key"], strict=True):
        rows.setdefault(row, []).append(str(key))
    return rows


def _of_dataset(cells: pd.DataFrame, request: RowRequest) -> pd.DataFrame:
    """The cells of the dataset and the variant."""
    datasets = unique(cells["dataset"])
    if request.dataset is None and len(datasets) > 1:
        raise SuiteError(f"models were trained on {', '.join(datasets)}; choose one with --dataset")
    dataset = datasets[0] if request.dataset is None else str(PluginRef.parse(request.dataset))
    if dataset not in datasets:
        raise SuiteError(did_you_mean("dataset of this suite", dataset, datasets))
    cells = cells[cells["dataset"] == dataset]
    variants = unique(cells["variant"])
    variant = request.variant or (BASE if BASE in variants else variants[0])
    if variant not in variants:
        raise SuiteError(did_you_mean("variant", variant, variants))
    return cells[cells["variant"] == variant]


def _of_modalities(cells: pd.DataFrame, request: RowRequest) -> pd.DataFrame:
    """The cells on the asked modalities; of a named model otherwise those on most modalities."""
    sets = unique(cells["modalities"])
    if request.modalities:
        wanted = {part for name in request.modalities for part in name.split(JOIN)}
        same = [names for names in sets if set(names.split(JOIN)) == wanted]
        if not same:
            raise SuiteError(did_you_mean("modality set", JOIN.join(request.modalities), sets))
        return cells[cells["modalities"].isin(same)]
    if request.model is None:
        return cells
    return cells[cells["modalities"] == max(sets, key=lambda names: names.count(JOIN))]
