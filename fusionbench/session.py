"""Composes plan, store, runner and tracking: what the command line and a notebook both call.

from fusionbench.session import Session
session = Session()
session.run("quickstart")
session.table("quickstart")
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fusionbench import lock as locks
from fusionbench import suites, views
from fusionbench.cells import Plan
from fusionbench.collecting import cohorts, lock_of, versions, write_tables
from fusionbench.download import data_home
from fusionbench.errors import DataError, FusionBenchError, ResultsError
from fusionbench.executors.choose import Asked, choose
from fusionbench.holding import hold
from fusionbench.nn import pick_device
from fusionbench.plan import expand
from fusionbench.registry import Registry, discover
from fusionbench.report.frames import Frames, collect, read_frames
from fusionbench.running import Nobody, Reporter, RunReport, Wanted, compute, finish
from fusionbench.selection import WHOLE, Selection
from fusionbench.store import Store
from fusionbench.tracking.live import Live
from fusionbench.views import LOCK
from fusionbench.work import work_of
from fusionbench.workbench import Workbench

if TYPE_CHECKING:
    import pandas as pd

    from fusionbench.audit import Audit


@dataclass
class Session:
    """One results root, one set of installed plugins, one data home.

    Attributes:
        out: the results root.
        home: the data home; default FUSIONBENCH_DATA, else the user's cache.
        device: auto, cpu or cuda.
        threads: CPU threads of a cell; None = one for small cases, all cores for large bags.
        tracking_uri: MLflow; None = MLFLOW_TRACKING_URI, else a local sqlite store under `out`.
    """

    out: Path = Path("results")
    home: Path = field(default_factory=data_home)
    device: str = "auto"
    threads: int | None = None
    tracking_uri: str | None = None
    registry: Registry = field(default_factory=discover)

    def __post_init__(self) -> None:
        self.out = Path(self.out)
        self.bench = Workbench(self.registry, Path(self.home), pick_device(self.device), self.threads)

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
        name = self._named(name)
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
            live = Live(self.tracking_uri, self.out, name, plan.suite.title, lock, reporter.note) if track else None
            wanted = Wanted(selection.limit, retry_failed, rerun)
            work = work_of(executor, self.bench, reporter.epoch)
            ran = compute(plan, store, work, executor, asked.retries, wanted, live, reporter)
            report = finish(whole, plan, store, self.bench, ran, left_out)
            if live and report.table is not None and ran:
                live.table(self.table(name))
        return replace(report, notes=live.notes) if live else report

    def _whole(self, name: str, selection: Selection) -> tuple[Plan | None, str]:
        """The whole suite's plan; None and the reason where a dataset that was not asked for cannot be read here."""
        try:
            return self.plan(name, selection.whole), ""
        except DataError as error:
            if not selection.datasets:
                raise
            return None, str(error)

    def as_run(self, name: str) -> tuple[Plan, Store]:
        """The whole suite with the repeats and the seed of its last run, as its lock has them.

        Raises:
            ResultsError: it has not been run.
        """
        store = self._store(name)
        if not store.has_file(LOCK):
            self.suite(name)  # an unknown name gets its own message
            raise ResultsError(f"{name}: nothing has been run under {self.out}; start with: fusionbench run {name}")
        suite = views.read_lock(store.folder)["suite"]
        return self.plan(name, Selection(repeats=suite["protocol"]["repeats"], seed=suite["seed"])), store

    def sync(self, name: str) -> int:
        """Replay every finished cell and the table into MLflow; returns how many cells.

        Raises:
            TrackingError: the server does not answer. ResultsError: nothing has been run.
        """
        from fusionbench import tracking

        name = self._named(name)
        plan, store = self.as_run(name)
        cells = [c for c in plan.listed if not c.skip and store.has(c.key)]
        if not cells:
            raise ResultsError(f"{name}: nothing has been run under {self.out}; start with: fusionbench run {name}")
        lock = lock_of(plan, self.bench)
        tracker = tracking.Tracker(self.tracking_uri, self.out, name, plan.suite.title, lock=lock)
        items = ((cell, store.load(cell.key, weights=False)) for cell in cells)
        made = any(store.has_file(f"{kind}.csv") for kind in ("table", "table.partial"))
        tracking.sync(tracker, items, self.table(name) if made else None)
        return len(cells)

    def publish(self, name: str) -> Path:
        """Write the tables from the cells, audit them, and copy what a reader needs to <out>/published/<suite>/.

        Raises:
            ResultsError: not complete, a breach, or too large.
        """
        from fusionbench.audit import audit
        from fusionbench.publish import publish

        plan, store = self.as_run(name)
        current = versions(self.registry)
        missing = [c for c in plan.todo() if store.finished(c, current) is None]
        if missing or write_tables(plan, store, self.bench, "table") is None:
            left = f"{len(missing)} of {len(plan.todo())} cells are missing"
            raise ResultsError(f"{name}: {left}; finish it with: fusionbench run {name}")
        store.write_text(LOCK, locks.dumps(lock_of(plan, self.bench)))
        found = audit(plan, store, cohorts(plan, self.bench))
        store.write_text("audit.json", found.to_json())
        self._write_report(store, read_frames(store.folder), found)
        return publish(plan, store, found, locks.command(views.read_lock(store.folder), self.suite(name)))

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
        from fusionbench.report.front import front_page

        names = sorted(path.parent.name for path in self.out.glob(f"*/{LOCK}"))
        if not names:
            raise ResultsError(f"no results under {self.out}; start with: fusionbench run quickstart --out {self.out}")
        without: dict[str, str] = {}
        for name in names:
            try:
                self.report(name)
            except FusionBenchError as error:  # told on the page and by the command; the other suites have theirs
                without[name] = str(error)
        path = self.out / "index.html"
        path.write_text(front_page(self.out, names, without), encoding="utf-8")
        return path, without

    def _write_report(self, store: Store, frames: Frames, audit: Audit | str) -> Path:
        suite = self.suite(store.suite)
        return views.write_report(frames, store, views.read_lock(store.folder), self.registry, audit, suite)

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
            raise ResultsError(f"{name}: no complete results under {self.out}; finish it with: fusionbench run {name}")
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
        from fusionbench.audit import audit
        from fusionbench.audit.published import is_published, published_audit

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
        raise ResultsError(
            f"no table of {name!r} under {self.out}; make it with: fusionbench run {name} --out {self.out}"
        )
