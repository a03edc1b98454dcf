"""The Python API: what the command line and a notebook both call.

from fusionbench.session import Session
session = Session()
session.run("quickstart")
session.table()
session.plot("forest")

What a method does lies in `fusionbench.tools`; it is imported when the method is called, so that commands that only
plan do not wait for torch, tables and statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fusionbench.core.class_files import name_of
from fusionbench.core.commands import RESULTS
from fusionbench.core.registry import Registry, discover
from fusionbench.data.downloads import data_home
from fusionbench.execution.shared import SharedResources
from fusionbench.results.store import Store
from fusionbench.suites.cell import Plan
from fusionbench.suites.selection import WHOLE, Selection
from fusionbench.suites.suite import Suite
from fusionbench.tools.find_suite import find_suite
from fusionbench.tools.planning import plan_as_run, plan_suite, refuse_gone

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from fusionbench.core.interfaces import FusionModel
    from fusionbench.core.plugin_ref import PluginRef
    from fusionbench.execution.executors.options import RunOptions
    from fusionbench.results.audit_verdict import Audit
    from fusionbench.tools.explain import ExplainReport, Request
    from fusionbench.tools.predict_rows import PredictedRow, RowRequest
    from fusionbench.tools.profile import Profiled
    from fusionbench.tools.reporter import Reporter
    from fusionbench.tools.run import RunReport
    from fusionbench.tools.status import Status
    from fusionbench.tools.tracking import SyncReport
    from fusionbench.tools.tuning import TuneOptions, TuneProgress


@dataclass(repr=False)
class Session:
    """One results root, one set of installed plugins, one data home.

    A suite is named in every method by its name or by the path of its file; one of the user's own has a name once it
    has been run under `out`.

    Attributes:
        out: the results root.
        home: the data home; default FUSIONBENCH_DATA, else the user's cache.
        device: auto, cpu or cuda.
        threads: CPU threads of a cell; None = one for small cases, all cores for large bags.
        deterministic: torch's deterministic algorithms only; matters on CUDA.
        tracking_uri: MLflow; None = MLFLOW_TRACKING_URI, else a local sqlite store under `out`.
        registry: the installed plugins.
        resources: what the cells of this process share: cohorts, preprocessors, the device.
    """

    out: Path = RESULTS
    home: Path = field(default_factory=data_home)
    device: str = "auto"
    threads: int | None = None
    tracking_uri: str | None = None
    deterministic: bool = False
    registry: Registry = field(default_factory=discover)
    resources: SharedResources = field(init=False)
    _last: str = field(init=False, default="")

    def __post_init__(self) -> None:
        self.out = Path(self.out)
        self.resources = SharedResources(
            self.registry,
            Path(self.home),
            self.device,
            threads=self.threads,
            deterministic=self.deterministic,
        )

    def __repr__(self) -> str:
        """One line: where results go, where data are, the device, and how many plugins there are."""
        plugins = self.registry.plugins
        broken = sum(plugin.status == "broken" for plugin in plugins)
        return (
            f"Session(out={str(self.out)!r}, home={str(self.home)!r}, device={self.device!r}; {len(plugins)} plugins"
            f"{f', {broken} broken' if broken else ''})"
        )

    def suite(self, name: str) -> Suite:
        """A suite as its file has it.

        Raises:
            SuiteError: unknown, or wrong.
        """
        return find_suite(name, self.out, self.registry).load()

    def plan(self, name: str, selection: Selection = WHOLE) -> Plan:
        """The cells that a selection of a suite asks for.

        Raises:
            SuiteError, DataError: before any compute.
        """
        found = find_suite(name, self.out, self.registry)
        suite = found.with_added(found.load())
        refuse_gone(suite, found.called, self.out, self.registry)
        return plan_suite(suite, self.resources, selection)

    def as_run(self, name: str, selection: Selection = WHOLE) -> tuple[Plan, Store]:
        """The whole suite, or part of it, with the repeats and the seed of its last run, and where its results are.

        External cohorts that cannot be read here are left out.

        Raises:
            ResultsError: it has not been run.
        """
        return plan_as_run(name, self.out, self.resources, selection, unread={})

    def run(
        self,
        name: str,
        selection: Selection = WHOLE,
        *,
        models: Sequence[str | type[FusionModel]] = (),
        remove: Sequence[str] = (),
        retry_failed: bool = False,
        rerun: bool = False,
        track: bool = True,
        options: RunOptions | None = None,
        reporter: Reporter | None = None,
    ) -> RunReport:
        """Compute what is not there yet, then write the tables; see `fusionbench.tools.run.run_suite`.

        Args:
            selection: part of the suite, other repeats or another seed.
            models: further ones beside `selection.models`; a class, too, which stands at the top of a Python file.
                One that the suite's file does not name is a row of it from then on.
            remove: models that earlier runs added, to be taken out again; what is stored of them stays.
            options: where cells run, and how often a cell that was lost is tried again.
            reporter: is told how it goes; default one line a cell on standard error, which a notebook shows.

        Raises:
            SuiteError, DataError, ResultsError: the request is wrong, before any compute.
        """
        from fusionbench.tools.progress import Lines
        from fusionbench.tools.run import CellChoice, run_suite

        self._last = name
        named = (name if isinstance(name, str) else name_of(name) for name in models)
        return run_suite(
            name,
            self.out,
            self.resources,
            replace(selection, models=(*selection.models, *named)),
            CellChoice(selection.limit, retry_failed, rerun),
            options,
            remove=remove,
            track=track,
            tracking_uri=self.tracking_uri,
            reporter=reporter or Lines(),
        )

    def status(self, name: str) -> Status:
        """What of a suite is done, running, failed, stale and to do.

        Raises:
            SuiteError, DataError, ResultsError: see `fusionbench.tools.status`.
        """
        from fusionbench.tools.status import suite_status

        return suite_status(name, self.out, self.resources)[0]

    def explain(self, request: Request, tell: Callable[[str], None] | None = None) -> ExplainReport:
        """Write where a stored model looks in test cases, and whether that matters, below the suite's results.

        Raises:
            SuiteError, ResultsError: the request does not fit what is stored. DataError: a file cannot be read.
        """
        from fusionbench.tools.explain import explain, refuse_published

        request.check()
        refuse_published(find_suite(request.suite, self.out, self.registry))
        plan, store = self.as_run(request.suite, request.selection)
        return explain(plan, store, self.resources, request, tell)

    def profile(self, request: Request, fold: int = 0, tell: Callable[[str], None] | None = None) -> Profiled:
        """Measure where the time and the memory of one cell go; the suite's results stay as they are.

        Args:
            request: which model, dataset (else the suite's first), modalities, variant and repeat.

        Raises:
            SuiteError, DataError: before any compute. FusionBenchError: the cell fails.
        """
        from fusionbench.tools.profile import profile_fold

        return profile_fold(request, fold, self.out, self.resources, tell)

    def tune(
        self,
        name: str,
        options: TuneOptions,
        selection: Selection = WHOLE,
        *,
        to: Path | None = None,
        execution: RunOptions | None = None,
        command: str = "",
        on_progress: Callable[[TuneProgress], None] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> Path:
        """Search the options of some of a suite's models; returns the tuned suite's file.

        Args:
            to: where the suite and its journal go; default <out>/<suite>/tuning.
            execution: where and how its trainings are computed; retries are not among that, a lost trial has failed.
            command: what the written files say made them.
            note: called with a line on what an earlier process left behind.

        Raises:
            SuiteError, DataError: before any compute. FusionBenchError: no trial of a search was completed.
        """
        from fusionbench.execution.executors.options import RunOptions, choose
        from fusionbench.tools.tuning import tune

        executor = choose(execution or RunOptions(), self.threads, self.resources.device.type, self.registry)
        found = find_suite(name, self.out, self.registry)
        plan = plan_suite(found.load(), self.resources, selection)
        if to is None:
            found.remember()
        folder, tell = to or found.store.folder / "tuning", on_progress or (lambda progress: None)
        return tune(plan, self.resources, executor, options, folder, command, tell, note or (lambda line: None))

    def predict(
        self, by: str | RowRequest, cohort: PluginRef, report: Callable[[str], None] | None = None
    ) -> list[PredictedRow]:
        """Predictions of every case of a cohort, with scores where outcomes are known; see `fusionbench.tools.predict`.

        Args:
            by: a finished cell (its key, the beginning of it, or SUITE/KEY), or rows of a suite's table.

        Raises:
            ResultsError: no such cell; an unfinished run. SuiteError, DataError: no such row; the cohort does not fit.
        """
        from fusionbench.tools.predict_rows import predict_cell, predict_rows

        if isinstance(by, str):
            return [predict_cell(self.resources, self.out, by, cohort)]
        return predict_rows(self.resources, self.out, by, cohort, report)

    def sync(self, name: str, selection: Selection = WHOLE) -> SyncReport:
        """Write a suite's finished cells, table and files into MLflow; what is there is not doubled.

        Args:
            selection: by datasets and models; a dataset that a run was asked for beside its suite's is named again.

        Raises:
            TrackingError: the server does not answer. ResultsError: nothing has been run.
        """
        from fusionbench.tools.tracking import sync_suite

        return sync_suite(name, self.out, self.resources, selection, tracking_uri=self.tracking_uri)

    def sync_all(self) -> Iterator[SyncReport | tuple[str, str]]:
        """`sync` for every suite under the results root; of one that cannot be read here, its name and why.

        Raises:
            TrackingError: as in `sync`. ResultsError: no suite has been run there.
        """
        from fusionbench.tools.tracking import sync_all

        return sync_all(self.out, self.resources, tracking_uri=self.tracking_uri)

    def publish(self, name: str) -> Path:
        """Write the tables from the cells, audit them, and copy what a reader needs to <out>/published/<suite>/.

        Raises:
            ResultsError: not complete, a breach, or too large.
        """
        from fusionbench.tools.publish import publish_suite

        return publish_suite(name, self.out, self.resources)

    def report(self, name: str, to: Path | None = None) -> Path:
        """Write report.html and figures/ beside a suite's results, run here or published, from what is stored.

        Args:
            to: the folder they are written to instead.

        Raises:
            SuiteError: unknown suite. ResultsError: no finished cell has a score.
        """
        from fusionbench.tools.reports import report_suite

        return report_suite(name, self.out, self.resources, to)

    def report_all(self, to: Path | None = None) -> tuple[Path, dict[str, str]]:
        """The reports of every suite under the results root, and index.html that leads to them.

        Args:
            to: the folder they are written to instead, each suite's in a folder of its own.

        Returns:
            the front page; suite to why it has no report.

        Raises:
            ResultsError: no suite has been run there.
        """
        from fusionbench.tools.reports import report_all

        return report_all(self.out, self.resources, to)

    def audit(self, name: str, replays: int = 0, *, refit: bool = False) -> Audit:
        """Check stored results: the protocol, files, scores and lock; of a published run, as far as its frames show.

        Args:
            replays: so many cells are predicted again from their weights, in a fresh process.
            refit: these are trained again instead.

        Raises:
            ResultsError: nothing has been run, or a cell is damaged.
        """
        from fusionbench.tools.reports import audit_suite

        return audit_suite(name, self.out, self.resources, replays, refit=refit)

    def compare(self, name: str, model_a: str, model_b: str, other: Path | None = None) -> pd.DataFrame:
        """Two models of a suite, paired, wherever both were run; the second perhaps of another results root.

        Raises:
            ResultsError: no complete results, a model is not there, or the two runs are not comparable.
        """
        from fusionbench.report.compare import compare_models
        from fusionbench.tools.reports import complete_results

        store = complete_results(name, self.out, self.resources)
        theirs = None if other is None else complete_results(name, other, self.resources)
        return compare_models(store, model_a, model_b, self.registry, theirs)

    def score(self, name: str, metric: str, to: Path | None = None) -> pd.DataFrame:
        """A metric from the stored predictions, fold by fold, also written as scores/<metric>.csv.

        Args:
            to: the folder that this file is written to; default the suite's.

        Raises:
            SuiteError: unknown metric. ResultsError: no complete results.
        """
        from fusionbench.report.build import score
        from fusionbench.tools.reports import complete_results

        elsewhere = None if to is None else Store.at(to)
        return score(complete_results(name, self.out, self.resources), metric, self.registry, elsewhere)

    def import_predictions(self, name: str, path: Path) -> tuple[str, ...]:
        """Other people's predictions as rows of the table; returns their models' names.

        Raises:
            DataError: what is wrong with the file. ResultsError: no complete results.
        """
        from fusionbench.report.build import import_predictions
        from fusionbench.tools.reports import complete_results

        return import_predictions(complete_results(name, self.out, self.resources), path, self.registry)[1]

    def table(self, name: str | None = None) -> pd.DataFrame:
        """The comparison table of a suite, the best row first within a dataset, pattern and set of modalities.

        A row is one mean. Of a suite that is not complete, the table has what there is.

        Args:
            name: of the suite; default the one that this session ran last, or the only one under `out`.

        Returns:
            columns of text (empty where there is none): dataset, model, modalities, protocol, pattern (which modalities
            test cases have), metric, tie_group ("a" = the best row and those not significantly different from it),
            variant, train_pattern, policy (what the model does about an absent modality), tuned, unit (patient, slide).
            Of float64: mean, sd (over folds), ci_low, ci_high (95 % bootstrap interval). Of Int64: n_folds (fold values
            behind the mean), n_failed, n_repeats, n_cases (of one repeat), n_skipped.

        Raises:
            ResultsError: no table yet; says which command makes one.
        """
        from fusionbench.report.order import tidy
        from fusionbench.tools.stored_table import StoredTable

        stored = StoredTable.of(self._suite_asked(name), self.out, self.registry)
        return tidy(stored.rows(), stored.directions())

    def plot(self, kind: str, name: str | None = None, number: int = 1) -> Figure:
        """One of the report's figures, from what is stored.

        Args:
            kind: forest, uplift, pooled, external, missing, survival, calibration, classes, training or cost.
            name: as in `table`.
            number: which of several figures of the kind, from 1.

        Raises:
            SuiteError: there is no such kind. ResultsError: nothing has been run, or it has no such figure, and why.
        """
        from fusionbench.report.build import draw
        from fusionbench.tools.reports import stored_frames

        frames, _, lock = stored_frames(self._suite_asked(name), self.out, self.resources)
        return draw(frames, lock, self.registry, kind, number)

    def _suite_asked(self, name: str | None) -> str:
        from fusionbench.tools.tracking import only_suite

        return name or self._last or only_suite(self.out)
