"""Run a suite: plan it, compute and store the cells that have no result, write the tables, log to MLflow."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fusionbench.core.cell_result import CellResult
from fusionbench.core.commands import command
from fusionbench.core.errors import DataError, FusionBenchError, ResultsError, SuiteError, did_you_mean
from fusionbench.core.executor import Executor
from fusionbench.core.guard import refuse_replaced_functions
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.execution.cell_record import computed_here
from fusionbench.execution.executors.options import RunOptions, choose
from fusionbench.execution.scheduler import Scheduler
from fusionbench.execution.shared import SharedResources
from fusionbench.execution.task import task_runner
from fusionbench.report import mlflow
from fusionbench.report.build import (
    finished_records,
    frames_of,
    lock_of,
    metric_versions,
    table_rows,
    write_tables,
)
from fusionbench.report.mlflow.tracker import LiveTracking
from fusionbench.results.added_models import added_models, keep_added
from fusionbench.results.integrity import set_aside
from fusionbench.results.run_lock import hold
from fusionbench.results.store import Store
from fusionbench.suites.cell import RESULTS_VERSION, Cell, Plan, cohorts_of
from fusionbench.suites.lock import LOCK, is_older, lock_text, read_lock
from fusionbench.suites.selection import WHOLE, Selection
from fusionbench.suites.suite import BASE, Suite
from fusionbench.suites.suite_files import dataset_for_folder
from fusionbench.tools.find_suite import FoundSuite, find_suite
from fusionbench.tools.planning import plan_suite, refuse_gone
from fusionbench.tools.reporter import Reporter, SilentReporter
from fusionbench.tools.reports import report_suite
from fusionbench.tools.rescore import with_new_metrics
from fusionbench.tools.status import count_outdated
from fusionbench.tools.tracking import refill

SAME_SCORE = 1e-6
"""Scores that differ by less are the same: sums of other thread counts round otherwise."""


@dataclass(frozen=True)
class RunReport:
    """How a run ended.

    Attributes:
        ran: cells computed now; done: cells that were there already.
        failed: listed or member cells whose result is a failure, with their reasons.
        listed: cells of the whole suite, `there` of which have a result; None where the data of a part that was not
            asked for are not here.
        complete: every cell of the whole suite has a result.
        left_out: why other datasets of the suite could not be read; empty where they could.
        table: the file that was written, or None where nothing has finished.
        outdated: stored cells of other inputs, which no table can use any more.
    """

    suite: str
    ran: int
    done: int
    failed: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[str, str], ...]
    there: int
    listed: int | None
    complete: bool
    table: Path | None
    left_out: str = ""
    notes: tuple[str, ...] = ()
    outdated: int = 0


@dataclass(frozen=True)
class CellChoice:
    """Which of a plan's cells are computed: those without a result.

    Attributes:
        limit: at most so many.
        retry_failed: also those that failed.
        rerun: all.
    """

    limit: int | None = None
    retry_failed: bool = False
    rerun: bool = False

    def has_result(self, cell: Cell, store: Store, versions: dict[str, str]) -> bool:
        """Whether the cell's stored result is kept; `versions` are the metrics'."""
        record = store.finished(cell, versions)
        return not self.rerun and record is not None and not (self.retry_failed and record["status"] == "failed")


def run_suite(
    name: str,
    out: Path,
    resources: SharedResources,
    selection: Selection = WHOLE,
    choice: CellChoice = CellChoice(),
    options: RunOptions | None = None,
    *,
    remove: Sequence[str] = (),
    track: bool = True,
    tracking_uri: str | None = None,
    reporter: Reporter | None = None,
) -> RunReport:
    """Compute the cells that have no result yet, then write the tables.

    Finished cells stay whatever happens: an interrupt, a tracking server that is down, a cell that fails.

    Args:
        name: a suite's name, or the path of its file; see `find_suite`.
        out: the results root.
        options: where cells run, and how often a cell that was lost is tried again.
        remove: models that earlier runs added to the suite, to be taken out of it; their cells stay.
        track: log to the MLflow at `tracking_uri`, else to the store under `out`.

    Raises:
        SuiteError, DataError, ResultsError: the request is wrong, before any compute.
    """
    refuse_replaced_functions()
    options = options or RunOptions()
    executor = choose(options, resources.threads, resources.device.type, resources.registry)
    reporter = reporter or SilentReporter()
    found = find_suite(name, out, resources.registry)
    suite, store = found.load(), found.store
    suite, changes = _extended(found, suite, selection, remove)
    whole, unreadable = _whole_plan(suite, resources, selection)
    plan = whole
    if plan is None or selection != selection.whole:
        plan = _readable_plan(suite, resources, selection, store)
    store.prepare()
    with hold(store.folder) as dead:
        if dead is not None:
            reporter.note(f"going on where {dead} was ended")
        store.clear_interrupted()
        find_suite(name, out, resources.registry).remember()  # another run may have taken the name just before
        keep_added(store, suite.added)
        for line in [*changes, *older_lines(store), *set_aside(store, (cell.key for cell in plan.todo()))]:
            reporter.note(line)
        lock = lock_of(whole or plan, resources, finished_records(whole or plan, store))
        asked = (whole or plan).suite
        named = (*asked.datasets, *(test for e in asked.external for test in e.test))
        seen = {str(d): str(dataset_for_folder(d, resources.registry, Path())) for d in named}
        for line in (*lock.get("changed_settings", ()), *warning_lines(lock, seen)):
            reporter.note(line)
        if whole is not None or not store.has_file(LOCK):
            store.write_text(LOCK, lock_text(lock))
        live = None
        if track:
            replay = mlflow.replay_command(out, suite.name, *selection.rows)

            def tracker() -> mlflow.Tracker:
                here = [computed_here(cell, resources) for cell in plan.todo() if not store.has(cell.key)]
                known = lock_of(whole or plan, resources, [*finished_records(whole or plan, store), *here])
                return mlflow.Tracker(tracking_uri, out, suite.name, suite.title, lock=known, replay=replay)

            live = LiveTracking(tracker, reporter.note)
        ran, scored = compute(plan, store, resources, executor, options.retries, choice, live, reporter)
        report = write_results(whole, plan, store, resources, ran, unreadable)
        for line in resources.registry.changed_settings[len(lock.get("changed_settings", ())) :]:
            reporter.note(line)
        outdated = 0 if whole is None else count_outdated(whole, store, resources.registry)
        if live and report.table is not None and (ran or scored):
            if report.complete and not live.notes:
                write_report_or_note(name, out, resources, reporter)
            live.end(table_rows(store), mlflow.suite_files(store))
            if live.mended and not live.notes:
                log_again(out, resources, tracking_uri, reporter)
    return replace(report, outdated=outdated, notes=live.notes if live else ())


def _extended(found: FoundSuite, suite: Suite, selection: Selection, remove: Sequence[str]) -> tuple[Suite, list[str]]:
    """The suite with the models that earlier runs and this one add to it, and a line on each that comes or goes.

    Raises:
        SuiteError: a model to be removed was not added, or one that was added cannot be loaded any more.
    """
    kept, out = added_models(found.store), found.store.root
    for model in (str(PluginRef.parse(text)) for text in remove):
        if model not in kept:
            raise SuiteError(f"--remove {model}: {did_you_mean('model that a run added to this suite', model, kept)}")
        del kept[model]
    before = suite.with_added(kept)
    refuse_gone(before, found.called, out, found.registry)
    new = selection.further_models(before)
    changes = [f"{model} is no row of {suite.name} any more; its cells are kept" for model in remove]
    for model in new:
        undo = command(out, "run", found.called, "--remove", model)
        changes.append(f"{model} is a row of {suite.name} from now on; take it out again with: {undo}")
    return before.with_added(new), changes


def older_lines(store: Store) -> Iterator[str]:
    """One line where the results there are of another RESULTS_VERSION."""
    try:
        lock = read_lock(store.folder) if store.has_file(LOCK) else None
    except ResultsError:  # a damaged lock is written anew
        return
    if lock is not None and is_older(lock):
        yield (
            f"{store.folder} has results of RESULTS_VERSION {lock.get('results_version')}, this is {RESULTS_VERSION}: "
            "they are kept, and computed once more under new keys"
        )


def write_report_or_note(name: str, out: Path, resources: SharedResources, reporter: Reporter) -> None:
    """The report that goes into MLflow with the table; a run does not fail for it."""
    try:
        report_suite(name, out, resources)
    except FusionBenchError as error:
        reporter.note(f"no report: {error}")


def log_again(out: Path, resources: SharedResources, tracking_uri: str | None, reporter: Reporter) -> None:
    """Log every suite under the results root, since a local store had to be made anew."""
    try:
        for report in refill(out, resources, tracking_uri):
            if isinstance(report, tuple):
                reporter.note(f"not in MLflow: {': '.join(report)}")
    except mlflow.TrackingError as error:
        reporter.note(f"not logged to MLflow: {error}")


SHOWN_WARNINGS = 3
"""Warnings about a cohort that a run shows; `data check` shows the others."""


def warning_lines(lock: Mapping[str, Any], seen: Mapping[str, str]) -> Iterator[str]:
    """The warnings about a suite's cohorts, a few lines each.

    Args:
        seen: dataset as the suite writes it to the same as seen from the working directory; external ones, too.
    """
    for name, of in {**lock["datasets"], **lock.get("external", {})}.items():
        warnings = of["warnings"]
        yield from (f"warning: {name}: {warning['text']}" for warning in warnings[:SHOWN_WARNINGS])
        if len(warnings) > SHOWN_WARNINGS:
            cohorts = [seen.get(part, part) for part in cohorts_of(name) if part]
            more = f"fusionbench data check {shlex.join(cohorts)}"
            yield f"{name}: and {len(warnings) - SHOWN_WARNINGS} more: {more}"


def _whole_plan(suite: Suite, resources: SharedResources, selection: Selection) -> tuple[Plan | None, str]:
    """The whole suite's plan; None and the reason where not all of it can be read here."""
    try:
        return plan_suite(suite, resources, selection.whole), ""
    except DataError as error:
        return None, str(error)


def _readable_plan(suite: Suite, resources: SharedResources, selection: Selection, store: Store) -> Plan:
    """The plan of what can be read here, while the table at the end says what cannot.

    Raises:
        DataError: a dataset that was asked for cannot be read, or an external cohort that no earlier run has read; one
            that was there then stops nothing else.
    """
    unread: dict[str, str] = {}
    plan = plan_suite(suite, resources, selection, unread)
    before = read_lock(store.folder).get("external", {}) if store.has_file(LOCK) else {}
    for name, why in unread.items():
        if name not in before:
            raise DataError(why)
    return plan


def compute(
    plan: Plan,
    store: Store,
    resources: SharedResources,
    executor: Executor,
    retries: int,
    choice: CellChoice,
    live: LiveTracking | None,
    reporter: Reporter,
) -> tuple[int, int]:
    """Run the chosen cells; a finished cell is stored before anything else happens to it.

    Returns:
        how many cells ran, and how many had been trained before and were scored by further metrics.
    """
    todo = plan.todo()
    versions = metric_versions(resources.registry)
    waiting = [cell for cell in todo if not choice.has_result(cell, store, versions)]
    scored = frozenset[str]() if choice.rerun else _score_stored(plan, waiting, store, resources, live, reporter)
    waiting = [cell for cell in waiting if cell.key not in scored]
    chosen = waiting[: choice.limit]  # members stand first, so a cut leaves none out

    def sink(cell: Cell, result: CellResult) -> None:
        before = store.record(cell.key)["scores"] if choice.rerun and store.has(cell.key) else ()
        for line in changed_scores(before, result):
            reporter.note(f"{cell.label}: {line}, under the same key {cell.key}")
        store.write(result)
        if live:
            for row in (c for c in plan.listed if c.key == cell.key):
                live.cell(row, result)
        for line in result.record.get("changed_settings", ()):
            reporter.note(f"{cell.label}: {line}")
        reporter.finished(cell, result)

    reporter.start(len(chosen), len(todo) - len(waiting))
    run_task = task_runner(executor, resources, reporter.epoch)
    Scheduler(executor, store, retries, sink=sink, begin=reporter.cell, note=reporter.note).run(chosen, run_task)
    return len(chosen), len(scored)


def _score_stored(
    plan: Plan,
    waiting: Iterable[Cell],
    store: Store,
    resources: SharedResources,
    live: LiveTracking | None,
    reporter: Reporter,
) -> frozenset[str]:
    """Score cells that lack nothing but a metric; their keys."""
    versions, done = metric_versions(resources.registry), list[str]()
    for cell in waiting:
        result = with_new_metrics(cell, store, resources, versions)
        if result is not None:
            store.write(result)
            done.append(cell.key)
            if live:
                for row in (c for c in plan.listed if c.key == cell.key):
                    live.cell(row, result)
    if done:
        names = ", ".join(plan.suite.metrics)
        reporter.note(f"{len(done)} cells were trained before and are scored by further metrics ({names}) now")
    return frozenset(done)


def changed_scores(before: Iterable[Mapping[str, Any]], result: CellResult) -> Iterator[str]:
    """One line for each score that is not what it was; inputs of one key have to give one number.

    Args:
        before: the scores that were stored under the key.
    """
    known = {(score["pattern"], score["metric"]): score["value"] for score in before}
    for score in result.scores:
        was = known.get((score.pattern, score.metric))
        if was is not None and not abs(was - score.value) <= SAME_SCORE:  # `not <=` also tells of NaN
            yield f"{score.metric} under {score.pattern} was {was:.6f} and is {score.value:.6f} now"


def write_results(
    whole: Plan | None, plan: Plan, store: Store, resources: SharedResources, ran: int, left_out: str = ""
) -> RunReport:
    """Write the lock and the tables of what there is: the whole suite's whenever all of its cells have a result.

    Args:
        whole: the whole suite; None where its data are not all here (`left_out` says why).
        plan: what was asked for.
        ran: how many cells were computed.
    """
    registry = resources.registry
    versions = metric_versions(registry)
    of_suite = None if whole is None else whole.todo()
    there = sum(store.finished(c, versions) is not None for c in of_suite or ())
    complete = of_suite is not None and there == len(of_suite)
    table = None
    if whole is not None:
        lock = lock_of(whole, resources, finished_records(whole, store))
        store.write_text(LOCK, lock_text(lock))
        if complete:
            table = write_tables(frames_of(whole, store, resources), store, lock, registry, "table")
    if table is None or whole is None or plan.suite != whole.suite:
        frames = frames_of(plan, store, resources)
        table = write_tables(
            frames, store, lock_of(plan, resources, finished_records(plan, store)), registry, "table.partial"
        )
    cells = {c.key: c for c in plan.todo()}
    records = {key: record for key, c in cells.items() if (record := store.finished(c, versions)) is not None}
    return RunReport(
        suite=plan.suite.name,
        ran=ran,
        done=len(records) - ran,
        failed=tuple((cells[k].label, r["reason"]) for k, r in records.items() if r["status"] == "failed"),
        skipped=tuple(dict.fromkeys((_row_label(c), c.skip) for c in plan.listed if c.skip)),
        there=there,
        listed=None if of_suite is None else len(of_suite),
        complete=complete,
        table=table,
        left_out=left_out,
    )


def _row_label(cell: Cell) -> str:
    return " · ".join(part for part in cell.row if part != BASE)
