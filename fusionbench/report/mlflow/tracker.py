"""Tracker: cells and tables into MLflow, idempotently, by one process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionbench.core.cell_result import CellResult
from fusionbench.core.commands import command
from fusionbench.core.errors import ResultsError
from fusionbench.report.mlflow import tables
from fusionbench.report.mlflow.client import Connection, TrackingError
from fusionbench.report.mlflow.experiment import open_experiment
from fusionbench.report.mlflow.files import SuiteFiles
from fusionbench.report.mlflow.local_store import artifact_folder, is_own_store, tracked_uri
from fusionbench.report.mlflow.owner import owner_of
from fusionbench.report.mlflow.payload import (
    DIGEST,
    KEY,
    KIND,
    NOTE,
    PARENT,
    SUITE,
    Point,
    commit_tags,
    fold_payload,
    row_payload,
    suite_payload,
)
from fusionbench.report.mlflow.runs import ENDED, Run, Runs
from fusionbench.report.mlflow.tables import Row
from fusionbench.suites.cell import Cell

if TYPE_CHECKING:
    import pandas as pd

RunKey = tuple[Row, str, str]
"""Table row, repeat, fold; the last two are empty for the run of the row itself."""

UNFINISHED = "unfinished"
SOURCE = "mlflow.source.name"
"""Tag of the command that made a run, which the page shows."""
WHOLE: RunKey = (("", "", "", ""), "", "")
"""The suite's own run."""


class Tracker:
    """Writes one suite into MLflow: an experiment a suite, a parent run a table row, a child run a fold, one for files.

    Nothing is opened before the first call. Whatever is logged twice is there once: a fold's run carries a digest of
    its content and is written anew only where that changed (another key, a re-run). MLflow's params and curves
    cannot be rewritten, so the older run then gets the tag `fusionbench.superseded_by` and is deleted the way the
    web page deletes (its filter "State: Deleted" shows it). So is a row's run, with its folds, when the row's
    options change. A run that an interrupt left half written counts as changed.

    Only runs of the same results root are ever replaced (see `owner`): on a server, those of other people stay.
    """

    def __init__(
        self, uri: str | None, root: Path, suite: str, title: str, *, lock: Mapping[str, Any], replay: str = ""
    ) -> None:
        """
        Args:
            uri: tracking server or database; None = MLFLOW_TRACKING_URI if set, else <root>/mlflow.db.
            root: the results root.
            lock: content of suite.lock.toml (`row_payload` says what is read of it).
            replay: the command that a failure's message names; default `fusionbench sync <suite>`.
        """
        self.uri = uri or tracked_uri(root)
        self.root, self.suite, self.title, self.lock = root, suite, title, lock
        self._connection = Connection(self.uri, suite, replay)
        self._opened: Runs | None = None
        self._known: dict[RunKey, Run] = {}
        self._source = {SOURCE: command(root, "run", suite)}
        self._note = ""

    @property
    def mended(self) -> str:
        """Why everything under the results root has to be logged again; empty where it has not."""
        return self._connection.mended

    def log_cell(self, cell: Cell, result: CellResult) -> None:
        """Log a fold below its table row; of a skipped cell only the row, with the reason.

        Raises:
            TrackingError: the server or store failed; every later call then fails at once.
        """
        runs = self._runs()
        payload = fold_payload(cell, self.suite, result, self.lock)
        row = self._row(cell)
        if cell.skip or result.status == "skipped":
            runs.end(row, "FINISHED", row.start)
            return
        place = (cell.row, str(cell.repeat), str(cell.fold))
        old = self._known.get(place)
        if old is not None:
            if old.holds(payload.digest) and old.status in ENDED and old.tags[PARENT] == row.id:
                return
            runs.supersede(self._known.pop(place), cell.key)
        made = self._known[place] = runs.create(payload, {PARENT: row.id}, payload.digest)
        runs.end(made, payload.status, made.start + round(1000 * payload.seconds))

    def log_table(self, table: pd.DataFrame) -> None:
        """Write mean, sd and interval of each row on its parent run, and the table into the suite's description.

        Args:
            table: columns of table.csv; a row of which no cell was logged has no parent and is left to `sync`.

        Raises:
            TrackingError: as in `log_cell`.
        """
        from fusionbench.report.findings.summary import stored_summary  # with pandas, which a tracker does not need

        runs = self._runs()
        lines = [{str(k): v for k, v in line.items()} for line in table.to_dict("records")]
        for row, of_row in groupby(sorted(lines, key=tables.row_of), key=tables.row_of):
            run = self._known.get((row, "", ""))
            if run is not None:
                self._log_row(row, run, list(of_row))
        cohorts = stored_summary(self.root / self.suite)
        verdicts = [f"{cohort.dataset}: {cohort.verdicts[0].answer}" for cohort in cohorts if cohort.verdicts]
        self._note = tables.table_note(self.title, lines, verdicts)
        runs.describe(self.title, self._note)

    def log_files(self, found: SuiteFiles) -> None:
        """Put a suite's files on its own run, with the table as description: MLflow's experiments hold no files.

        Written again only where a file has changed; where one has gone, a new run takes the place of the old one.

        Raises:
            TrackingError: as in `log_cell`.
        """
        runs = self._runs()
        payload = suite_payload(self.suite, str(runs.owner), self._note or self.title)
        tags = {**payload.tags, **self._source}
        run, digest = self._known.get(WHOLE), found.digest
        if run is not None and run.holds(digest):
            if tags.items() - run.tags.items():
                runs.write(run, tags)
            self._end(run, "FINISHED", self._folds())
            return
        if run is not None and runs.files(run) - found.files.keys():
            runs.supersede(self._known.pop(WHOLE), digest)
            run = None
        if run is None:
            run = self._known[WHOLE] = runs.create(payload, self._source, UNFINISHED)
        else:
            runs.write(run, {DIGEST: UNFINISHED})
        for name, path in found.files.items():
            runs.upload(run, name, path)
        runs.write(run, {**tags, DIGEST: digest})
        self._end(run, "FINISHED", self._folds())

    def _log_row(self, row: Row, run: Run, lines: list[dict[str, Any]]) -> None:
        runs = self._runs()
        # A number that the table no longer states is overwritten with NaN: nothing stays without a source.
        wanted = dict.fromkeys(run.metrics, math.nan) | tables.table_metrics(lines)
        changed = {name: value for name, value in wanted.items() if _differs(run.metrics.get(name, math.nan), value)}
        tags = {NOTE: tables.table_line(lines), **commit_tags(fold.tags for fold in self._folds(row))}
        if changed or tags.items() - run.tags.items():
            runs.write(run, tags, tuple(Point(name, value) for name, value in changed.items()))
            run.metrics |= changed
        self._end(run, "FAILED" if lines[0]["n_failed"] > 0 else "FINISHED", self._folds(row))

    def _end(self, run: Run, status: str, folds: Iterable[Run]) -> None:
        """Close a run that lasted as long as these folds together, whenever each of them was computed."""
        self._runs().end(run, status, run.start + sum(fold.end - fold.start for fold in folds))

    def _folds(self, row: Row | None = None) -> list[Run]:
        return [known for place, known in self._known.items() if row in (None, place[0]) and place[1:] != ("", "")]

    def _runs(self) -> Runs:
        """The experiment, opened when first needed; of two runs for one place the younger stays."""
        if self._opened is None:
            try:
                owner = owner_of(self.root)
            except ResultsError as error:
                raise self._connection.failed(f"was not asked, since {error}") from error
            folder, own = artifact_folder(self.uri, self.root), is_own_store(self.uri, self.root)
            experiment = open_experiment(self._connection, self.title, folder, own=own)
            self._opened = runs = Runs(self._connection, experiment, owner)
            for run in runs.stored():
                name = _place(run.tags)
                if name in self._known:
                    runs.supersede(self._known[name], run.tags.get(KEY, ""))
                self._known[name] = run
        return self._opened

    def _row(self, cell: Cell) -> Run:
        """The parent run of a cell's row, made where it is missing or the row's options have changed."""
        runs, payload = self._runs(), row_payload(cell, self.suite, self.lock)
        tags = {**payload.tags, **self._source}
        run = self._known.get((cell.row, "", ""))
        if run is not None and not run.holds(payload.once_digest):
            for place in [p for p in self._known if p[0] == cell.row]:
                runs.supersede(self._known.pop(place), cell.key)
            run = None
        if run is None:
            run = runs.create(payload, self._source, payload.once_digest)
            self._known[cell.row, "", ""] = run
        elif tags.items() - run.tags.items():
            runs.write(run, tags)
        return run


class LiveTracking:
    """MLflow during a run: the first failure is reported once and ends it; results are on disk whatever happens.

    Attributes:
        notes: why nothing is logged any more; empty while it is.
        mended: why everything under the results root has to be logged again; empty where it has not.
    """

    def __init__(self, make: Callable[[], Tracker], report: Callable[[str], None]) -> None:
        """`report` is called once with the line that says why nothing is logged any more, and once with `mended`."""
        self.notes: tuple[str, ...] = ()
        self.mended = ""
        self._make, self._report = make, report
        self._tracker: Tracker | None = None

    def cell(self, cell: Cell, result: CellResult) -> None:
        """Log a finished cell."""
        self._try(lambda tracker: tracker.log_cell(cell, result))

    def end(self, table: pd.DataFrame, files: SuiteFiles) -> None:
        """Log the table and the files of the run."""
        self._try(lambda tracker: tracker.log_table(table))
        self._try(lambda tracker: tracker.log_files(files))

    def _try(self, log: Callable[[Tracker], None]) -> None:
        if self.notes:
            return
        try:
            if self._tracker is None:
                self._tracker = self._make()
            log(self._tracker)
            if self._tracker.mended and not self.mended:
                self.mended = self._tracker.mended
                self._report(f"MLflow: {self.mended}")
        except TrackingError as error:
            self.notes = (f"not logged to MLflow: {error}",)
            self._report(self.notes[0])


def sync(
    tracker: Tracker,
    items: Iterable[tuple[Cell, CellResult]],
    table: pd.DataFrame | None,
    files: SuiteFiles | None = None,
) -> None:
    """Replay stored results into a tracking server; what is there already stays as it is.

    Args:
        table: columns of table.csv, or None where none was written.

    Raises:
        TrackingError: as in `Tracker.log_cell`.
    """
    for cell, result in items:
        tracker.log_cell(cell, result)
    if table is not None:
        tracker.log_table(table)
    if files is not None:
        tracker.log_files(files)


def _place(tags: Mapping[str, str]) -> RunKey:
    """Where a stored run belongs."""
    if tags[KIND] == SUITE:
        return WHOLE
    return tables.row_of(tags), tags.get("repeat", ""), tags.get("fold", "")


def _differs(have: float, value: float) -> bool:
    """Whether a number must be written; NaN stands for none."""
    return not (have == value or (math.isnan(have) and math.isnan(value)))
