"""Composes plan, store, runner and tracking: what the command line and a notebook both call.

from fusionbench.session import Session
session = Session()
session.run("quickstart")
session.table("quickstart")
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionbench.core.commands import RESULTS, command
from fusionbench.core.errors import DataError, FusionBenchError, ResultsError, SuiteError
from fusionbench.core.registry import Registry, discover
from fusionbench.data.downloads import data_home
from fusionbench.execution.determinism import prepare
from fusionbench.execution.executors.options import Asked, choose
from fusionbench.execution.shared import Workbench
from fusionbench.execution.task import work_of
from fusionbench.nn import pick_device
from fusionbench.report import build as views
from fusionbench.report import mlflow as tracking
from fusionbench.report.collecting import cohorts, lock_of, versions, write_tables
from fusionbench.report.mlflow.live import Live
from fusionbench.results.frames import Frames, collect, read_frames
from fusionbench.results.run_lock import hold
from fusionbench.results.store import Store
from fusionbench.suites import lock as locks
from fusionbench.suites import suite as suites
from fusionbench.suites.cell import Plan
from fusionbench.suites.lock import LOCK, read_lock
from fusionbench.suites.plan import expand
from fusionbench.suites.selection import WHOLE, Selection
from fusionbench.tools import status as standing
from fusionbench.tools.run import Nobody, Reporter, RunReport, Wanted, compute, finish
from fusionbench.tools.status.planned import as_locked

if TYPE_CHECKING:
    import pandas as pd

    from fusionbench.tools.audit import Audit
    from fusionbench.tools.explain import Explained, Request
    from fusionbench.tools.profiling import Profiled
    from fusionbench.tools.status import Status
    from fusionbench.tools.tuning import Told, Wish


@dataclass(frozen=True)
class SyncReport:
    """What of a suite is in MLflow.

    Attributes:
        cells: how many finished cells.
        outdated: files left out because they are older than the newest cell, to the verb that makes them again.
    """

    suite: str
    cells: int
    outdated: Mapping[str, str]


@dataclass
class Session:
    """One results root, one set of installed plugins, one data home.

    Attributes:
        out: the results root.
        home: the data home; default FUSIONBENCH_DATA, else the user's cache.
        device: auto, cpu or cuda.
        threads: CPU threads of a cell; None = one for small cases, all cores for large bags.
        deterministic: torch's deterministic algorithms only; matters on CUDA.
        tracking_uri: MLflow; None = MLFLOW_TRACKING_URI, else a local sqlite store under `out`.
    """

    out: Path = RESULTS
    home: Path = field(default_factory=data_home)
    device: str = "auto"
    threads: int | None = None
    tracking_uri: str | None = None
    deterministic: bool = False
    registry: Registry = field(default_factory=discover)

    def __post_init__(self) -> None:
        self.out = Path(self.out)
        if self.deterministic:
            prepare()  # before anything runs on CUDA
        self.bench = Workbench(
            self.registry,
            Path(self.home),
            pick_device(self.device),
            threads=self.threads,
            deterministic=self.deterministic,
        )

    def suite(self, name: str) -> suites.Suite:
        """A suite by name, or by the path of its file, as everywhere below."""
        known = self._named(name)
        return suites.load(self.registry, known)

    def _named(self, name: str) -> str:
        """A suite's name; a file of the user's own becomes one of the suites."""
        self.registry, known = suites.named(self.registry, name)
        self.bench.registry = self.registry
        return known

    def _store(self, name: str) -> Store:
        return Store(self.out, self._named(name))

    def plan(self, name: str, selection: Selection = WHOLE) -> Plan:
        """The cells that a selection of a suite asks for.

        Raises:
            SuiteError, DataError: before any compute.
        """
        return selection.pick(expand(selection.narrow(self.suite(name)), self.registry, self.bench.cohort))

    def run(
        self,
        name: str,
        selection: Selection = WHOLE,
        *,
        retry_failed: bool = False,
        rerun: bool = False,
        track: bool = True,
        asked: Asked = Asked(),  # noqa: B008 - frozen
        reporter: Reporter | None = None,
    ) -> RunReport:
        """Compute what is not there yet, then write the tables.

        Finished cells stay whatever happens: an interrupt, a tracking server that is down, a cell that fails.

        Args:
            asked: where cells run, and how often one that was lost is tried again.

        Raises:
            SuiteError, DataError, ResultsError: the request is wrong, before any compute.
        """
        executor = choose(asked, self.threads, self.bench.device.type, self.registry)
        reporter = reporter or Nobody()
        written, name = name, self._named(name)
        whole, left_out = self._whole(name, selection)
        plan = whole if whole is not None and selection == selection.whole else self.plan(name, selection)
        store = Store(self.out, name)
        store.prepare()
        with hold(store.folder) as dead:
            if dead is not None:
                reporter.note(f"going on where {dead} was ended")
            lock = lock_of(whole or plan, self.bench)
            if whole is not None or not store.has_file(LOCK):
                store.write_text(LOCK, locks.dumps(lock))
            replay = tracking.replay_command(self.out, written, *selection.rows)
            live = Live(lambda: self._tracker(plan, lock, replay), reporter.note) if track else None
            wanted = Wanted(selection.limit, retry_failed, rerun)
            work = work_of(executor, self.bench, reporter.epoch)
            ran = compute(plan, store, work, executor, asked.retries, wanted, live, reporter)
            report = finish(whole, plan, store, self.bench, ran, left_out)
            outdated = 0 if whole is None else standing.count_outdated(whole, store, self.registry)
            report = replace(report, outdated=outdated)
            if live and report.table is not None and ran:
                live.end(views.every_row(store), tracking.suite_files(store.folder))
        return replace(report, notes=live.notes) if live else report

    def _whole(self, name: str, selection: Selection) -> tuple[Plan | None, str]:
        """The whole suite's plan; None and the reason where a dataset that was not asked for cannot be read here."""
        try:
            return self.plan(name, selection.whole), ""
        except DataError as error:
            if not selection.datasets:
                raise
            return None, str(error)

    def as_run(self, name: str, selection: Selection = WHOLE) -> tuple[Plan, Store]:
        """The whole suite, or part of it, with the repeats and the seed of its last run, as its lock has them.

        Raises:
            ResultsError: it has not been run.
        """
        store = self._store(name)
        if not store.has_file(LOCK):
            self.suite(name)  # an unknown name gets its own message
            raise self._unrun(name)
        locked = as_locked(read_lock(store.folder))
        return self.plan(name, replace(selection, repeats=locked.repeats, seed=locked.seed)), store

    def _unrun(self, name: str) -> ResultsError:
        start = command(self.out, "run", name)
        return ResultsError(f"{name}: nothing has been run under {self.out}; start with: {start}")

    def status(self, name: str) -> Status:
        """What of a suite is done, running, failed, stale and to do.

        Raises:
            SuiteError, DataError, ResultsError: see `fusionbench.tools.status`.
        """
        return standing.suite_status(name, self.out, self.bench)[0]

    def explain(self, request: Request, tell: Callable[[str], None] | None = None) -> Explained:
        """Write where a stored model looks in test cases, and whether that matters, below the suite's results.

        Raises:
            SuiteError, ResultsError: the request does not fit what is stored. DataError: a file cannot be read.
        """
        from fusionbench.tools.explain import explain, refuse_published

        request.check()
        refuse_published(self._store(request.suite).folder, request.suite)
        return explain(*self.as_run(request.suite, request.selection), self.bench, request, tell)

    def profile(self, request: Request, fold: int = 0, tell: Callable[[str], None] | None = None) -> Profiled:
        """Measure where the time and the memory of one cell go; the suite's results stay as they are.

        Args:
            request: which model, dataset (else the suite's first), modalities, variant and repeat.

        Raises:
            SuiteError, DataError: before any compute. FusionBenchError: the cell fails.
        """
        from fusionbench.tools.profiling import profile

        for flag, value in (("fold", fold), ("repeat", request.repeat)):
            if value < 0:
                raise SuiteError(f"--{flag} {value}: must be at least 0")
        began = time.perf_counter()
        datasets = (request.dataset or str(self.suite(request.suite).datasets[0]),)
        plan = self.plan(request.suite, Selection(datasets, (request.model,), str(fold), repeats=request.repeat + 1))
        before = time.perf_counter() - began
        return profile(plan, request, self.bench, self._store(request.suite), before, tell)

    def tune(
        self,
        name: str,
        wish: Wish,
        selection: Selection = WHOLE,
        *,
        to: Path | None = None,
        asked: Asked = Asked(),  # noqa: B008 - frozen
        command: str = "",
        tell: Callable[[Told], None] | None = None,
    ) -> Path:
        """Search the options of some of a suite's models; returns the tuned suite's file.

        Args:
            to: where the suite and its journal go; default <out>/<suite>/tuning.
            asked: where and how its trainings are computed; retries are not among that, a lost trial has failed.
            command: what the written files say made them.

        Raises:
            SuiteError, DataError: before any compute. FusionBenchError: no trial of a search was completed.
        """
        from fusionbench.tools.tuning import tune

        executor = choose(asked, self.threads, self.bench.device.type, self.registry)
        plan = self.plan(name, selection)
        folder = to or self.out / plan.suite.name / "tuning"
        return tune(plan, self.bench, executor, wish, folder, command, tell or (lambda told: None))

    def sync(self, name: str, selection: Selection = WHOLE) -> SyncReport:
        """Replay every finished cell, the table and the files into MLflow.

        Args:
            selection: rows by datasets and models; a row that a run was asked for beside its suite's is named again.

        Raises:
            TrackingError: the server does not answer. ResultsError: nothing has been run.
        """
        return self._sync(name, selection, tracking.replay_command(self.out, name, *selection.rows))

    def sync_all(self) -> Iterator[SyncReport | tuple[str, str]]:
        """The same for every suite under the results root; of one that cannot be read here, its name and why.

        Raises:
            TrackingError: as in `sync`. ResultsError: no suite has been run there.
        """
        for name in self._run_here():
            try:
                yield self._sync(name, WHOLE, tracking.replay_command(self.out))
            except tracking.TrackingError:
                raise
            except FusionBenchError as error:  # its data are not here, or it was a file of the user's
                yield name, str(error)

    def _sync(self, name: str, selection: Selection, replay: str) -> SyncReport:
        name = self._named(name)
        plan, store = self.as_run(name, selection)
        cells = [c for c in plan.listed if not c.skip and store.has(c.key)]
        if not cells:
            raise self._unrun(name)
        items = ((cell, store.load(cell.key, weights=False)) for cell in cells)
        made = any(store.has_file(f"{kind}.csv") for kind in ("table", "table.partial"))
        files = tracking.suite_files(store.folder)
        tracker = self._tracker(plan, lock_of(plan, self.bench), replay)
        tracking.sync(tracker, items, views.every_row(store) if made else None, files)
        return SyncReport(name, len(cells), files.outdated)

    def _tracker(self, plan: Plan, lock: dict[str, Any], replay: str) -> tracking.Tracker:
        suite = plan.suite
        return tracking.Tracker(self.tracking_uri, self.out, suite.name, suite.title, lock=lock, replay=replay)

    def publish(self, name: str) -> Path:
        """Write the tables from the cells, audit them, and copy what a reader needs to <out>/published/<suite>/.

        Raises:
            ResultsError: not complete, a breach, or too large.
        """
        from fusionbench.tools.audit import audit
        from fusionbench.tools.publish import publish

        plan, store = self.as_run(name)
        current = versions(self.registry)
        missing = [c for c in plan.todo() if store.finished(c, current) is None]
        if missing or write_tables(plan, store, self.bench, "table") is None:
            left = f"{len(missing)} of {len(plan.todo())} cells are missing"
            raise ResultsError(f"{name}: {left}; finish it with: {command(self.out, 'run', name)}")
        store.write_text(LOCK, locks.dumps(lock_of(plan, self.bench)))
        found = audit(plan, store, cohorts(plan, self.bench))
        store.write_text("audit.json", found.to_json())
        self._write_report(store, read_frames(store.folder), found)
        return publish(plan, store, found, locks.command(read_lock(store.folder), self.suite(name)))

    def report(self, name: str) -> Path:
        """Write report.html and figures/ beside a suite's results, run here or published, from what is stored.

        Raises:
            SuiteError: unknown suite. ResultsError: no finished cell has a score.
        """
        store = Store(self.out, name)
        if store.has_file("folds.csv"):
            return self._write_report(store, read_frames(store.folder), self._audited(name))
        plan, store = self.as_run(name)
        frames = collect(plan, store, cohorts(plan, self.bench), versions(self.registry))
        return self._write_report(store, frames, self._audited(name))

    def report_all(self) -> tuple[Path, dict[str, str]]:
        """The reports of every suite under the results root, and index.html that leads to them.

        Returns:
            the front page; suite to why it has no report.

        Raises:
            ResultsError: no suite has been run there.
        """
        from fusionbench.report.html.index import front_page

        names = self._run_here()
        without: dict[str, str] = {}
        for name in names:
            if name not in self.registry.names("suites"):  # of a file of the user's own, which may be anywhere
                if not Store(self.out, name).has_file("report.html"):
                    first = command(self.out, "report", f"{name}.toml")
                    without[name] = f"{name} is no installed suite; first name its file: {first}"
                continue
            try:
                self.report(name)
            except FusionBenchError as error:  # told on the page and by the command; the other suites have theirs
                without[name] = str(error)
        path = self.out / "index.html"
        path.write_text(front_page(self.out, names, without), encoding="utf-8")
        return path, without

    def _run_here(self) -> list[str]:
        """Names of the suites under the results root."""
        names = sorted(path.parent.name for path in self.out.glob(f"*/{LOCK}"))
        if not names:
            raise ResultsError(f"no results under {self.out}; start with: fusionbench run quickstart --out {self.out}")
        return names

    def _write_report(self, store: Store, frames: Frames, audit: Audit | str) -> Path:
        suite = self.suite(store.suite)
        return views.write_report(frames, store, read_lock(store.folder), self.registry, audit, suite)

    def _audited(self, name: str) -> Audit | str:
        """The audit, or why it cannot be made here: results can be looked at without the data they came from."""
        try:
            return self.audit(name)
        except DataError as error:
            return str(error)

    def stored(self, name: str) -> Store:
        """A suite's complete results, run here or published.

        Raises:
            SuiteError: unknown suite. ResultsError: not complete.
        """
        store = self._store(name)
        if not store.has_file("folds.csv"):
            self.suite(name)  # an unknown name gets its own message
            finish = command(self.out, "run", name)
            raise ResultsError(f"{name}: no complete results under {self.out}; finish it with: {finish}")
        return store

    def compare(self, name: str, model_a: str, model_b: str, other: Path | None = None) -> pd.DataFrame:
        """Two models of a suite, paired, wherever both were run; the second perhaps of another results root."""
        theirs = None if other is None else replace(self, out=other).stored(name)
        return views.compare_models(self.stored(name), model_a, model_b, self.registry, theirs)

    def score(self, name: str, metric: str) -> pd.DataFrame:
        """A metric from the stored predictions, fold by fold."""
        return views.score(self.stored(name), metric, self.registry)

    def import_predictions(self, name: str, path: Path) -> tuple[str, ...]:
        """Somebody else's predictions as rows of the table; returns their models' names."""
        return views.import_predictions(self.stored(name), path, self.registry)[1]

    def audit(self, name: str) -> Audit:
        """What the written results prove about the protocol; of a published run, as far as its frames show.

        Raises:
            ResultsError: nothing has been run, or a cell is damaged.
        """
        from fusionbench.tools.audit import audit
        from fusionbench.tools.audit.published import is_published, published_audit

        folder = self._store(name).folder
        if is_published(folder):
            return published_audit(folder)
        plan, store = self.as_run(name)
        return audit(plan, store, cohorts(plan, self.bench))

    def table(self, name: str) -> pd.DataFrame:
        """The comparison table of a suite as stored: table.csv, or table.partial.csv where the suite is not complete.

        Raises:
            ResultsError: no table yet; says which command makes one.
        """
        import pandas as pd

        return pd.read_csv(self.table_file(name, "csv"))

    def table_file(self, name: str, suffix: str) -> Path:
        """The stored table in one format.

        Raises:
            ResultsError: no table yet.
        """
        folder = self._store(name).folder
        for kind in ("table", "table.partial"):
            if (folder / f"{kind}.{suffix}").is_file():
                return folder / f"{kind}.{suffix}"
        self.suite(name)  # an unknown name gets its own message
        raise ResultsError(f"no table of {name!r} under {self.out}; make it with: {command(self.out, 'run', name)}")
