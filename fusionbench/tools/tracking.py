"""Replay a suite's stored results into MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fusionbench.core.commands import command
from fusionbench.core.errors import FusionBenchError, ResultsError
from fusionbench.execution.shared import SharedResources
from fusionbench.report import mlflow
from fusionbench.report.build import finished_records, lock_of, table_rows
from fusionbench.results.store import suites_under
from fusionbench.suites.lock import read_lock
from fusionbench.suites.selection import WHOLE, Selection
from fusionbench.tools.find_suite import find_suite, not_run
from fusionbench.tools.planning import plan_as_run


@dataclass(frozen=True)
class SyncReport:
    """What of a suite is in MLflow.

    Attributes:
        cells: how many finished cells.
        outdated: files left out because they were made of other cells, to the verb that makes them again.
        unfinished: how many cells are missing or failed; the suite cannot be published before they are done.
        mended: why every suite under the results root was logged again; empty where only what was asked for is.
        left_out: suites that were to be logged again and cannot be read here, to why.
        unread: external cohorts of the suite that cannot be read here, `TRAIN -> TEST` to why.
    """

    suite: str
    cells: int
    outdated: Mapping[str, str]
    unfinished: int
    mended: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)


def sync_suite(
    name: str,
    out: Path,
    resources: SharedResources,
    selection: Selection = WHOLE,
    *,
    tracking_uri: str | None = None,
    replay: str = "",
) -> SyncReport:
    """Write every finished cell, the table and the files of a suite into MLflow; what is there is not doubled.

    Args:
        selection: rows by datasets and models; a dataset that a run was asked for beside its suite's is named again.
        replay: the command that does the same again; default this suite's.

    Raises:
        TrackingError: the server does not answer. ResultsError: nothing has been run.
    """
    report = _sync(name, out, resources, selection, tracking_uri, replay)
    if not report.mended:
        return report
    again = refill(out, resources, tracking_uri)
    return replace(report, left_out=dict(of for of in again if isinstance(of, tuple)))


def sync_all(
    out: Path, resources: SharedResources, *, tracking_uri: str | None = None
) -> Iterator[SyncReport | tuple[str, str]]:
    """`sync_suite` for every suite under the results root; of one that cannot be read here, its name and why.

    Raises:
        TrackingError: as in `sync_suite`. ResultsError: no suite has been run there.
    """
    suites_run(out)  # now, not when the first is asked for
    return refill(out, resources, tracking_uri)


def refill(out: Path, resources: SharedResources, tracking_uri: str | None) -> Iterator[SyncReport | tuple[str, str]]:
    """`sync_all`; after it, a local store holds all that the results root does."""
    for name in suites_run(out):
        try:
            yield _sync(name, out, resources, WHOLE, tracking_uri, mlflow.replay_command(out))
        except mlflow.TrackingError:
            raise
        except FusionBenchError as error:  # its data are not here, or it was a file of the user's
            yield name, str(error)
    mlflow.store_filled(tracking_uri or mlflow.tracked_uri(out))


def _sync(
    name: str, out: Path, resources: SharedResources, selection: Selection, tracking_uri: str | None, replay: str
) -> SyncReport:
    unread: dict[str, str] = {}
    plan, store = plan_as_run(name, out, resources, selection, unread=unread)
    cells = [c for c in plan.listed if not c.skip and store.has(c.key)]
    if not cells:
        raise not_run(find_suite(name, out, resources.registry))
    results = ((cell, store.load(cell.key, weights=False)) for cell in cells)
    files = mlflow.suite_files(store)
    has_table = any(store.has_file(f"{kind}.csv") for kind in ("table", "table.partial"))
    has_table &= mlflow.WHOLE_TABLE not in files.outdated
    lock = lock_of(plan, resources, finished_records(plan, store))
    whole = read_lock(store.folder)["datasets"]  # a run's name depends on how many cohorts the suite has
    tracker = mlflow.Tracker(
        tracking_uri,
        out,
        plan.suite.name,
        plan.suite.title,
        lock=lock | {"datasets": whole | lock["datasets"]},
        replay=replay or mlflow.replay_command(out, store.suite, *selection.rows),
    )
    mlflow.sync(tracker, results, table_rows(store) if has_table else None, files)
    done = sum(store.has(c.key) and store.record(c.key)["status"] == "ok" for c in plan.todo())
    missing = len(plan.todo()) - done
    return SyncReport(plan.suite.name, len(cells), files.outdated, missing, tracker.mended, unread=unread)


def suites_run(out: Path) -> list[str]:
    """Names of the suites that have results under the results root.

    Raises:
        ResultsError: there are none.
    """
    names = suites_under(out)
    if not names:
        raise ResultsError(f"no results under {out}; start with: {command(out, 'run', 'quickstart')}")
    return names


def only_suite(out: Path) -> str:
    """The only suite that has results under the results root.

    Raises:
        ResultsError: there is none, or several; lists them.
    """
    names = suites_run(out)
    if len(names) > 1:
        raise ResultsError(f"{out} has results of several suites: name one of {', '.join(names)}")
    return names[0]
