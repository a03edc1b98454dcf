"""A team's server for real: MLflow before PostgreSQL, files through its proxy, its page in a browser."""

from __future__ import annotations

import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fusionbench.core.registry import discover
from fusionbench.report.mlflow import Order, best_pairs, compare_link, experiment_id, payload, rows_link, suite_link
from fusionbench.report.mlflow.client import Connection
from fusionbench.report.mlflow.owner import ROOT, owner_of
from fusionbench.session import Session
from fusionbench.suites.selection import Selection
from tests.browser import browser, needs_driver
from tests.conftest import EXAMPLE
from tests.services import MlflowServer, free_port, mlflow_server, postgresql

SUITE, SMALL = "example-tiny", "example-faulty"
DOC = (Path(__file__).parents[2] / "docs" / "mlflow.md").read_text(encoding="utf-8")
EXPAND = "document.querySelectorAll('[role=row] button[data-component-id*=runnamecell]').forEach(b => b.click())"
"""A click on the plus sign of every parent run."""
FILTERS = next(block.split("\n") for block in re.findall(r"```text\n(.*?)\n```", DOC, re.DOTALL) if "kind" in block)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    with postgresql() as database, pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(EXAMPLE)
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        patched.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # a busy machine is not what is tested
        places = [
            "--backend-store-uri",
            database,
            "--serve-artifacts",
            "--artifacts-destination",
            str(folder / "files"),
        ]
        address = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        with mlflow_server([sys.executable, "-m", "mlflow", "server", *places, *address], port, folder) as running:
            yield running


@pytest.fixture(scope="module")
def session(server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A suite run against the server."""
    out = tmp_path_factory.mktemp("results")
    session = Session(out=out, device="cpu", tracking_uri=server.url, registry=discover())
    report = session.run(SUITE)
    assert report.notes == ()
    assert report.complete
    return session


def runs(session: Session, suite: str, filtered: str = "", state: int = 1) -> list[Any]:
    """Runs of a suite on the server; state 1 = active, 2 = deleted."""
    found = Connection(str(session.tracking_uri), suite)
    experiment = experiment_id(str(session.tracking_uri), suite)
    return list(found.call("search_runs", [experiment], filtered, run_view_type=state, max_results=500))


def kinds(session: Session, suite: str) -> Counter[str]:
    return Counter(run.data.tags[payload.KIND] for run in runs(session, suite))


def files(session: Session, run: Any, folder: str | None = None) -> set[str]:
    listed = Connection(str(session.tracking_uri), SUITE).call("list_artifacts", run.info.run_id, folder)
    return {entry.path for entry in listed}


def test_rows_folds_and_files_are_there_once_however_often_they_are_replayed(session: Session, tmp_path: Path) -> None:
    table = session.table(SUITE)
    ran = table[table["n_folds"] > 0]
    rows = len(ran.drop_duplicates(["dataset", "model", "modalities", "variant"]))
    before = runs(session, SUITE)
    assert kinds(session, SUITE) == {"row": rows, "fold": 2 * rows, "suite": 1}
    assert {run.info.status for run in before} == {"FINISHED"}
    session.sync(SUITE)
    assert {r.info.run_id for r in runs(session, SUITE)} == {r.info.run_id for r in before}
    assert runs(session, SUITE, state=2) == []
    (suite,) = runs(session, SUITE, "tags.`fusionbench.kind` = 'suite'")
    assert suite.info.artifact_uri.startswith("mlflow-artifacts:")
    assert files(session, suite) >= {"table.md", "table.csv", "folds.csv", "suite.lock.toml", "reports", "figures"}
    assert files(session, suite, "reports") == {"reports/index.html"}
    drawn = {f"figures/{path.name}" for path in (session.out / SUITE / "figures").glob("*.png")}
    assert files(session, suite, "figures") == drawn != set()
    client = Connection(str(session.tracking_uri), SUITE)
    fetched = Path(client.call("download_artifacts", suite.info.run_id, "table.csv", str(tmp_path)))
    assert fetched.read_bytes() == (session.out / SUITE / "table.csv").read_bytes()


def test_parents_and_children_name_the_cohort_by_the_fingerprint_of_the_lock(session: Session) -> None:
    plan, _ = session.as_run(SUITE)
    ((dataset, unit),) = plan.cohorts
    cohort = session.resources.cohort(dataset, unit)
    fingerprint = cohort.fingerprint
    for run in runs(session, SUITE, "tags.`fusionbench.kind` != 'suite'"):
        (used,) = run.inputs.dataset_inputs
        assert used.dataset.name == cohort.info.title
        assert fingerprint.startswith(used.dataset.digest)
        assert run.data.tags["dataset.fingerprint"] == fingerprint


@pytest.mark.parametrize("filtered", FILTERS)
def test_a_filter_of_the_document_finds_some_runs_and_not_all(session: Session, filtered: str) -> None:
    assert 0 < len(runs(session, SUITE, filtered)) < len(runs(session, SUITE))


def test_tags_filter_what_they_say(session: Session) -> None:
    found = runs(session, SUITE, "tags.model = 'healnet' and tags.fold = '1' and tags.modalities = 'vector'")
    assert [run.info.run_name for run in found] == ["healnet · vector · repeat 0 fold 1"]
    commit = found[0].data.tags.get("git_commit")
    if commit:  # the checkout that the tests run from, if it is one
        assert len(runs(session, SUITE, f"tags.git_commit = '{commit}'")) == len(runs(session, SUITE)) - 1
    digest = found[0].inputs.dataset_inputs[0].dataset.digest
    assert len(runs(session, SUITE, f"dataset.digest = '{digest}'")) == len(runs(session, SUITE)) - 1


def test_a_server_that_dies_half_way_through_a_run_has_everything_later(session: Session, server: MlflowServer) -> None:
    class Killing:
        """Pulls the plug after the second cell."""

        def __init__(self) -> None:
            self.cells = 0
            self.notes: list[str] = []

        def start(self, todo: int, done: int) -> None: ...
        def cell(self, cell: object) -> None: ...
        def epoch(self, epoch: int, epochs: int) -> None: ...
        def note(self, line: str) -> None:
            self.notes.append(line)

        def finished(self, cell: object, result: object) -> None:
            self.cells += 1
            if self.cells == 2:
                server.stop(signal.SIGKILL)

    told = Killing()
    try:
        report = session.run(SMALL, reporter=told)
    finally:
        server.start()
    assert (report.ran, report.complete, told.cells) == (4, True, 4)
    assert told.notes == list(report.notes)
    assert len(told.notes) == 1
    assert told.notes[0].endswith(f"fusionbench sync {SMALL} --out {session.out} --to {server.url}")
    assert kinds(session, SMALL) == {"row": 1, "fold": 2}
    for _ in range(2):
        session.sync(SMALL)
        assert kinds(session, SMALL) == {"row": 1, "fold": 4, "suite": 1}
        assert {run.info.status for run in runs(session, SMALL)} == {"FINISHED"}
    assert runs(session, SMALL, state=2) == []


def test_one_person_s_part_leaves_another_s_rows_and_table_as_they_are(session: Session, tmp_path: Path) -> None:
    other = Session(out=tmp_path, device="cpu", tracking_uri=session.tracking_uri, registry=discover())

    def of(one: Session) -> dict[str, tuple[Any, ...]]:
        mine = f"tags.`fusionbench.root` = '{owner_of(one.out).root}'"
        listed = runs(session, SMALL, mine)
        return {r.info.run_id: (r.data.to_dictionary(), r.info.status, r.info.end_time) for r in listed}

    session.run(SMALL, track=False)
    session.sync(SMALL)
    before = of(session)
    part = Selection(seed=7, folds="0")
    assert other.run(SMALL, part).notes == ()
    other.sync(SMALL, part)
    assert of(session) == before
    assert Counter(run.data.tags[payload.KIND] for run in runs(session, SMALL)) == {"row": 2, "fold": 5, "suite": 2}
    assert runs(session, SMALL, state=2) == []
    for one in (session, other):
        (suite,) = runs(
            session, SMALL, f"tags.`{payload.KIND}` = 'suite' and tags.`{ROOT}` = '{owner_of(one.out).root}'"
        )
        assert str(owner_of(one.out)) in suite.data.tags[payload.NOTE]
        assert files(session, suite) >= {"suite.lock.toml"}


@needs_driver
def test_the_page_shows_parents_children_their_comparison_and_the_files(session: Session, tmp_path: Path) -> None:
    base, experiment = str(session.tracking_uri), str(experiment_id(str(session.tracking_uri), SUITE))
    rows = {r.info.run_name: r for r in runs(session, SUITE, "tags.`fusionbench.kind` = 'row'")}
    (suite,) = runs(session, SUITE, "tags.`fusionbench.kind` = 'suite'")
    one, two = (next(r for name, r in rows.items() if name.startswith(f"{model} ·")) for model in ("healnet", "cox"))
    child = runs(session, SUITE, f"tags.mlflow.parentRunId = '{one.info.run_id}' and tags.fold = '0'")[0]
    order = Order("harrell_c_index")
    best = max(rows.values(), key=lambda run: run.data.metrics.get(order.column, 0))
    (tmp_path / "first").mkdir()
    with browser(tmp_path / "first", 1600, 2400) as page:  # MLflow's page remembers the filter in its browser
        page.open(rows_link(base, experiment, order))
        seen = page.wait(order.column, "healnet · vector", f"{len(rows)} matching runs")
        assert "repeat 0 fold 0" not in seen
        assert seen.index(best.info.run_name) == min(seen.index(name) for name in rows if name in seen)
        page.screenshot("mlflow rows chart")
    with browser(tmp_path, 1600, 2400) as page:  # charts out of sight are not drawn
        page.open(suite_link(base, None))
        page.wait(SUITE)
        page.screenshot("mlflow experiments")

        page.open(suite_link(base, experiment))
        page.wait(
            "Dataset", "matching runs", f"{SUITE}: table", "cox · ", f"({one.inputs.dataset_inputs[0].dataset.digest})"
        )
        page.run(EXPAND)
        page.wait("· repeat 0 fold 0")
        page.screenshot("mlflow runs")

        (pair,) = best_pairs(base, session.out, SUITE, experiment, order).values()
        page.open(compare_link(base, experiment, pair))
        page.wait("Comparing 2 Runs", order.column)
        page.screenshot("mlflow best fused and best uni-modal")

        page.open("about:blank")  # from one comparison to another, MLflow's page shows none
        page.open(compare_link(base, experiment, [one.info.run_id, two.info.run_id]))
        means = [str(round(r.data.metrics["harrell_c_index.mean"], 3)) for r in (one, two)]
        params = ("train.lr", "model.layers", "protocol.folds")
        page.wait("Comparing 2 Runs", one.info.run_name, two.info.run_name, "harrell_c_index.mean", *means, *params)
        page.screenshot("mlflow compare")
        page.run("[...document.querySelectorAll('*')].find(e => e.textContent === 'Metrics').scrollIntoView()")
        page.screenshot("mlflow compare metrics")

        page.open(f"{base}/#/experiments/{experiment}/runs/{one.info.run_id}")
        page.wait(one.data.tags[payload.NOTE], child.info.run_name)
        page.screenshot("mlflow parent")
        page.open(f"{base}/#/experiments/{experiment}/runs/{child.info.run_id}/model-metrics")
        page.wait("(train/loss)", "(fit/lr)", "Step")
        page.screenshot("mlflow child curves")
        page.open(f"{base}/#/experiments/{experiment}/runs/{child.info.run_id}/system-metrics")
        page.wait("process_cpu_percent", "process_memory_mib")
        page.screenshot("mlflow child system")

        page.open(f"{base}/#/experiments/{experiment}/runs/{suite.info.run_id}/artifacts/table.md")
        page.wait("reports", "suite.lock.toml", "figures", "How to read this")
        page.screenshot("mlflow files")
        page.open("about:blank")  # nor from one artifact to another
        page.open(f"{base}/#/experiments/{experiment}/runs/{suite.info.run_id}/artifacts/reports/index.html")
        page.wait("reports", "index.html")
        page.wait_frame(session.suite(SUITE).title)
        page.screenshot("mlflow report")
