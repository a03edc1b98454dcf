"""`fusionbench sync` and a run's tracking from the command line: every suite, further rows, servers that are down."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from fusionbench.report.mlflow import experiment_id, payload
from fusionbench.report.mlflow.client import Connection
from tests import services
from tests.conftest import EXAMPLE, Cli
from tests.forking import Forked

RUN = ("run", "example-faulty", "-d", "example-faulty")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, empty_store: Path) -> Path:
    """The local store of `results`, where mlflow need not make it first."""
    (tmp_path / "results").mkdir()
    return Path(shutil.copy(empty_store, tmp_path / "results" / "mlflow.db"))


def tags(store: Path, suite: str, tag: str) -> Counter[str]:
    """How often each value of a tag stands on the active runs of a store."""
    uri = f"sqlite:///{store.absolute()}"
    listed = Connection(uri, suite).call("search_runs", [experiment_id(uri, suite)], max_results=500)
    return Counter(run.data.tags.get(tag, "") for run in listed)


def test_without_a_name_every_suite_is_replayed_and_one_that_cannot_be_read_is_named(cli: Cli, store: Path) -> None:
    assert cli(*RUN, "--no-track").returncode == 0
    assert cli("run", "example-failing", "--no-track").returncode == 1
    shutil.copytree("results/example-faulty", "results/gone")
    ended = cli("sync")
    assert ended.returncode == 1
    assert ended.stdout.splitlines() == [
        "example-failing: 6 cells are in MLflow",
        "example-faulty: 4 cells are in MLflow",
    ]
    (line,) = ended.stderr.splitlines()
    assert line == (
        "not in MLflow: gone: results/gone/suite.lock.toml: the folder was 'example-faulty' when it was run; give it "
        "this name again"
    )
    kinds = tags(store, "example-failing", payload.KIND)
    assert kinds == {"row": 3, "fold": 6, "suite": 1}
    shutil.rmtree("results/gone")
    assert cli("sync").returncode == 0
    assert tags(store, "example-failing", payload.KIND) == kinds


def test_bad_requests(cli: Cli) -> None:
    assert "no results under results" in cli("sync").stderr
    assert "nothing has been run under results" in cli("sync", "quickstart").stderr
    assert "name it" in cli("sync", "-m", "healnet").stderr
    assert cli(*RUN, "--no-track").returncode == 0
    for to, word in (("nonsense://x", "nonsense"), ("http://127.0.0.1:9", "does not answer")):
        ended = cli("sync", "--to", to)
        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        assert word in line
        assert line.startswith(f"error: MLflow at {to} ")


def test_a_replay_after_a_live_run_leaves_its_runs_as_they_are(cli: Cli, store: Path) -> None:
    assert cli(*RUN).returncode == 0
    live = tags(store, "example-faulty", "mlflow.runName"), tags(store, "example-faulty", payload.DIGEST)
    uri = f"sqlite:///{store}"
    assert cli("sync", "example-faulty").returncode == 0
    assert (tags(store, "example-faulty", "mlflow.runName"), tags(store, "example-faulty", payload.DIGEST)) == live
    found = Connection(uri, "example-faulty")
    assert not found.call("search_runs", [experiment_id(uri, "example-faulty")], run_view_type=2)


def test_a_row_beside_the_suite_s_own_is_logged_with_its_mean_and_replayed_by_its_name(cli: Cli, store: Path) -> None:
    extra = ("-m", "example-flat[value=zero]")
    assert cli(*RUN, "--no-track").returncode == 0
    down = cli("run", "example-faulty", *extra, env={"MLFLOW_TRACKING_URI": services.refusing()})
    assert down.returncode == 0, down.stderr
    assert "fusionbench sync example-faulty -m 'example-flat[value=zero]' --to " in down.stderr
    assert cli("sync", "example-faulty", *extra).returncode == 0
    assert cli("sync", "example-faulty").returncode == 0
    uri = f"sqlite:///{store}"
    listed = Connection(uri, "example-faulty").call(
        "search_runs", [experiment_id(uri, "example-faulty")], "tags.`fusionbench.kind` = 'row'"
    )
    assert {run.data.tags["model"]: run.data.metrics["n_folds"] for run in listed} == {
        "example-flat[value=zero]": 4,
        "example-least-squares": 4,
    }
    assert {run.info.status for run in listed} == {"FINISHED"}


def test_table_figures_and_report_are_there_when_the_run_ends_and_what_is_outdated_later_is_named(
    cli: Cli, tmp_path: Path
) -> None:
    assert cli(*RUN).returncode == 0
    (suite,) = tmp_path.glob("results/mlartifacts/example-faulty/*/artifacts")
    page = suite / "reports" / "index.html"
    assert page.read_bytes() == Path("results/example-faulty/report.html").read_bytes()
    assert (suite / "table.md").read_bytes() == Path("results/example-faulty/table.md").read_bytes()
    assert list(suite.glob("figures/*.png"))
    set_times(Path("results"), "cell.json", younger=True)  # as a copy, an archive or a clone may give them
    assert cli("sync").stdout.splitlines() == ["example-faulty: 4 cells are in MLflow"]
    assert cli(*RUN, "--rerun", "--no-track").returncode == 0
    set_times(Path("results"), "cell.json", younger=False)
    said = cli("sync").stdout.splitlines()
    assert said[1].endswith(
        "report.html was made before the cells changed and is left out; make it again with: fusionbench report "
        "example-faulty"
    )
    assert cli("report", "example-faulty").returncode == 0
    assert cli("sync").stdout.splitlines() == ["example-faulty: 4 cells are in MLflow"]


def set_times(folder: Path, name: str, *, younger: bool) -> None:
    """Give the files of a name modification times after, or before, those of all others."""
    for path in folder.rglob("*"):
        time = 2_000_000_000 if (path.name == name) == younger else 1_000_000_000
        os.utime(path, (time, time))


def test_tables_that_a_run_could_not_write_any_more_are_used_by_no_verb(cli: Cli, tmp_path: Path) -> None:
    """It was ended after it had computed cells again, and before it wrote the tables."""
    assert cli(*RUN, "--no-track").returncode == 0
    folder = Path("results/example-faulty")
    for path in folder.glob("cells/*/cell.json"):
        path.write_text(re.sub(r'"value": 0\.\d+', '"value": 0.12345', path.read_text()))
    said = cli("sync").stdout.splitlines()
    again = "was made before the cells changed and is left out; make it again with: fusionbench run example-faulty"
    assert said == ["example-faulty: 4 cells are in MLflow", f"example-faulty: table.csv {again}"]
    assert not list(tmp_path.glob("results/mlartifacts/**/table.csv"))
    assert cli("report", "example-faulty").returncode == 0
    assert "0.123" in (folder / "report.html").read_text(encoding="utf-8")
    refused = cli("import", "example-faulty", "mine.csv")
    assert refused.returncode == 2
    assert refused.stderr.endswith("changed; make it anew with: fusionbench run example-faulty\n")
    assert cli(*RUN, "--no-track").returncode == 0
    assert "0.123" in (folder / "table.csv").read_text(encoding="utf-8")
    assert cli("sync").stdout.splitlines() == ["example-faulty: 4 cells are in MLflow"]


@pytest.mark.parametrize("verb", ["sync", "run"])
def test_a_store_of_no_use_is_moved_aside_and_filled_again_with_every_suite(cli: Cli, store: Path, verb: str) -> None:
    assert cli(*RUN, "--no-track").returncode == 0
    assert cli("run", "example-failing", "--no-track").returncode == 1
    store.write_text("no database " * 500)
    ended = cli("sync", "example-faulty") if verb == "sync" else cli(*RUN, "--rerun", "--folds", "0")
    assert ended.returncode == 0, ended.stderr
    (aside,) = store.parent.glob("mlflow.db.broken-*")
    (line,) = [line for line in ended.stderr.splitlines() if "MLflow" in line]
    assert line == (
        f"MLflow: {store} is damaged (file is not a database); it is {aside.name} now, a new store is filled from the "
        "results"
    )
    assert tags(store, "example-faulty", payload.KIND) == {"row": 1, "fold": 4, "suite": 1}
    assert tags(store, "example-failing", payload.KIND) == {"row": 3, "fold": 6, "suite": 1}
    assert cli("sync", "example-faulty").stderr == ""


@pytest.mark.slow
def test_ctrl_c_while_the_store_is_made_costs_a_run_nothing(cli: Cli, store: Path, tmp_path: Path) -> None:
    store.unlink()
    env = {**os.environ, "PYTHONPATH": str(EXAMPLE)}
    running = Forked(RUN, tmp_path, env, tmp_path / "out", tmp_path / "err")
    while not list(store.parent.glob("mlflow.db.new-*")):
        assert running.poll() is None, (tmp_path / "err").read_text()
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGINT)
    assert running.wait(60) == 130
    assert not store.exists()
    ended = cli(*RUN)
    assert ended.returncode == 0, ended.stderr
    assert "MLflow" not in ended.stderr
    cli("sync")
    assert tags(store, "example-faulty", payload.KIND) == {"row": 1, "fold": 4, "suite": 1}


def test_an_experiment_whose_files_lie_at_a_fixed_place_is_logged_again(cli: Cli, store: Path) -> None:
    assert cli(*RUN, "--no-track").returncode == 0
    before = Connection(f"sqlite:///{store}", "example-faulty")
    old = before.call("create_experiment", "example-faulty", "file:///somewhere/else")
    ended = cli("sync")
    assert ended.stderr.startswith("MLflow: example-faulty kept its files under file:///somewhere/else, a place that")
    assert experiment_id(f"sqlite:///{store}", "example-faulty") != old
    assert tags(store, "example-faulty", payload.KIND) == {"row": 1, "fold": 4, "suite": 1}
    assert list(store.parent.glob("mlartifacts/example-faulty/*/artifacts/table.md"))
    assert cli("sync").stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["silent", "html"])
def test_a_run_against_a_bad_server_goes_on_and_says_one_line(cli: Cli, kind: str) -> None:
    """It costs one wait, not one a cell: tests/unit/report/test_mlflow.py counts requests, not seconds."""
    with services.silent() as silent, services.answering(services.Answer(200, "<p>")) as (html, seen):
        url = {"silent": silent, "html": html}[kind]
        ended = cli(*RUN, env={"MLFLOW_TRACKING_URI": url})
    assert ended.returncode == 0, ended.stderr
    (told,) = [line for line in ended.stderr.splitlines() if "MLflow" in line]
    assert told.endswith(f"fusionbench sync example-faulty -d example-faulty --to {url}")
    assert len(seen) == (kind == "html")
    assert "4 cells computed" in ended.stdout
    assert "look at the runs" not in ended.stdout
    assert "4 cells are in MLflow" in cli("sync", "example-faulty").stdout
