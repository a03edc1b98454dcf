"""A suite's audit and report, of results that were run here or published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fusionbench.core.commands import command
from fusionbench.core.errors import DataError, FusionBenchError, ResultsError, SuiteError
from fusionbench.execution.shared import SharedResources
from fusionbench.report.build import finished_records, frames_of, with_imported, write_report
from fusionbench.report.html.index import front_page
from fusionbench.results.audit_verdict import Audit
from fusionbench.results.frames import Frames, read_frames
from fusionbench.results.made_from import TABLE, is_current, note_made_from, stored_contents
from fusionbench.results.manifest import renew_entry
from fusionbench.results.store import Store
from fusionbench.suites.lock import read_lock
from fusionbench.suites.provenance import provenance
from fusionbench.tools.audit import audit_results
from fusionbench.tools.audit.published import is_published, published_audit
from fusionbench.tools.find_suite import find_suite, results_of
from fusionbench.tools.planning import plan_as_run, uninstalled_models
from fusionbench.tools.tracking import suites_run


def complete_results(name: str, out: Path, resources: SharedResources) -> Store:
    """Where a suite's complete results are, run here or published.

    Raises:
        SuiteError: unknown suite. ResultsError: not complete.
    """
    found = find_suite(name, out, resources.registry)
    if not found.store.has_file("folds.csv"):
        finish = command(out, "run", found.called)
        raise ResultsError(f"{found.name}: no complete results under {out}; finish it with: {finish}")
    return found.store


def audit_suite(name: str, out: Path, resources: SharedResources, replays: int = 0, *, refit: bool = False) -> Audit:
    """What the written results prove about the protocol; of a published run, as far as its frames show.

    Raises:
        ResultsError: nothing has been run, or a cell is damaged.
    """
    folder = results_of(name, out, resources.registry).folder
    if is_published(folder):
        return published_audit(folder, resources.registry)
    unread: dict[str, str] = {}
    plan, store = plan_as_run(name, out, resources, installed_only=True, unread=unread)
    whole = find_suite(name, out, resources.registry).load_or_stored()
    gone = uninstalled_models(whole, read_lock(store.folder), resources.registry)
    return audit_results(plan, store, resources, gone, replays, refit=refit, unread=unread)


def stored_frames(name: str, out: Path, resources: SharedResources) -> tuple[Frames, Store, dict[str, Any]]:
    """The frames of a suite's results, run here or published, where these are, and their lock.

    They are those that the table was made of, or, where cells have changed since, are collected from the cells.

    Raises:
        SuiteError: unknown suite. ResultsError: nothing has been run.
    """
    store = results_of(name, out, resources.registry)
    if store.has_file("folds.csv") and is_current(store, TABLE) is not False:
        return read_frames(store.folder), store, read_lock(store.folder)
    plan, store = plan_as_run(name, out, resources, installed_only=True, unread={})  # the audit names what is lacking
    # A run that was interrupted has not told its lock what computed its last cells.
    lock = read_lock(store.folder) | provenance(finished_records(plan, store))
    return with_imported(frames_of(plan, store, resources), store, lock, resources.registry), store, lock


def report_suite(name: str, out: Path, resources: SharedResources, to: Path | None = None) -> Path:
    """Write report.html and figures/ beside a suite's results, run here or published, from what is stored.

    Args:
        to: the folder they are written to instead; nothing else is written then.

    Raises:
        SuiteError: unknown suite. ResultsError: no finished cell has a score.
    """
    contents = stored_contents(results_of(name, out, resources.registry))
    frames, store, lock = stored_frames(name, out, resources)
    try:
        verdict: Audit | str = audit_suite(name, out, resources)
    except (DataError, SuiteError) as error:  # results can be looked at without the data and files they came from
        verdict = str(error)
    suite = find_suite(name, out, resources.registry).load_or_stored()
    elsewhere = None if to is None else Store.at(to)
    path = write_report(frames, store, lock, resources.registry, verdict, suite, elsewhere)
    if elsewhere is None:
        note_made_from(store, path.name, contents)
        renew_entry(store.folder, path.name)
    return path


def report_all(out: Path, resources: SharedResources, to: Path | None = None) -> tuple[Path, dict[str, str]]:
    """The reports of every suite under the results root, and index.html that leads to them.

    Args:
        to: the folder they are written to instead, each suite's in a folder of its own.

    Returns:
        the front page; suite to why it has no report.

    Raises:
        ResultsError: no suite has been run there.
    """
    names = suites_run(out)
    without: dict[str, str] = {}
    for name in names:
        try:
            report_suite(name, out, resources, to and to / name)
        except FusionBenchError as error:  # told on the page and by the command; the other suites have theirs
            without[name] = str(error)
    return Store.at(to or out).write_text("index.html", front_page(out, names, without)), without
