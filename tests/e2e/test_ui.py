"""`fusionbench ui`: the links it prints, a port that is taken, results that were moved, and how its server ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import psutil
import pytest
import requests

from fusionbench import cli as command_line
from fusionbench.report import mlflow
from fusionbench.report.mlflow import payload
from tests.conftest import Cli
from tests.faults.watching import gone
from tests.forking import child, status
from tests.services import LOOPBACK, free_port

RUN = ("run", "example-faulty", "-d", "example-faulty")
STAND_IN = """
import http.server, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Healthy).serve_forever()
"""
"""Answers as MLflow's server does, and has a worker as that has, in a tenth of the time."""


def lines(path: Path, number: int, seconds: float = 120) -> list[str]:
    """The first lines that a process writes into a file, once they are there."""
    end = time.monotonic() + seconds
    while len(found := path.read_text().splitlines() if path.is_file() else []) < number:
        assert time.monotonic() < end, f"{number} lines were not written: {found}"
        time.sleep(0.05)
    return found[:number]


@contextmanager
def ui(said: Path, *args: str) -> Iterator[int]:
    """The number of a process that runs `fusionbench ui ARGS` and writes what it prints into a file."""

    def command() -> None:
        sys.stdout = sys.stderr = said.open("w", encoding="utf-8")
        sys.argv = ["fusionbench", "ui", *args]
        command_line.main()

    pid = child(command)
    try:
        yield pid
    finally:
        if psutil.pid_exists(pid) and psutil.Process(pid).ppid() == os.getpid():
            os.kill(pid, signal.SIGTERM)
            status(pid)


def test_a_port_that_is_taken_is_told_with_one_that_is_free(cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = cli("ui", "--port", str(port))
        assert ended.returncode == 2
        assert ended.stdout == ""
        (line,) = ended.stderr.splitlines()
        found = re.fullmatch(
            rf"error: another program listens at 127\.0\.0\.1, port {port}; port (\d+) is free: --port \1", line
        )
        assert found
        with socket.socket() as free:
            free.bind((LOOPBACK, int(found[1])))


def test_an_interface_that_is_not_there_is_told(cli: Cli) -> None:
    ended = cli("ui", "--host", "203.0.113.7", "--port", str(free_port()))
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: nothing can listen at 203.0.113.7, port ")


@pytest.mark.parametrize(
    ("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]
)
def test_the_server_and_its_workers_end_with_the_command(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals, code: int
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(mlflow, "ui_command", lambda _, port, __: [sys.executable, "-c", STAND_IN, str(port)])
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    port = free_port()
    with ui(tmp_path / "said", "--out", str(tmp_path), "--port", str(port)) as pid:
        assert lines(tmp_path / "said", 1) == [f"http://127.0.0.1:{port}/#/experiments"]
        started = {of.pid for of in psutil.Process(pid).children(recursive=True)}
        assert len(started) >= 3  # the server, its worker, and what watches over them
        os.kill(pid, how)
        assert status(pid) == code
        assert gone(started)


@pytest.mark.slow
def test_moved_results_keep_their_files_on_the_page_and_take_new_ones_where_they_are_now(
    cli: Cli, tmp_path: Path
) -> None:
    assert cli(*RUN).returncode == 0
    (tmp_path / "new place").mkdir()
    moved = (tmp_path / "results").rename(tmp_path / "new place" / "moved")
    port, out = free_port(), ("--out", str(moved))
    assert cli(*RUN, *out, "--rerun", "--folds", "0").returncode == 0
    with ui(tmp_path / "said", "example-faulty", *out, "--port", str(port)):
        link, rows = lines(tmp_path / "said", 2)
        base, experiment = link.split("/#/experiments/")
        assert rows.startswith(f"rows, best first: {link}?searchFilter=")
        assert "orderByKey=metrics.`harrell_c_index.mean`&orderByAsc=false&compareRunsMode=CHART" in unquote(rows)
        asked = {"experiment_ids": [experiment.split("/")[0]], "filter": f"tags.`{payload.KIND}` = 'suite'"}
        found = requests.post(f"{base}/api/2.0/mlflow/runs/search", json=asked, timeout=60).json()["runs"]
        (suite,) = [run["info"]["run_id"] for run in found]

        def listed(path: str = "") -> set[str]:
            asked = {"run_id": suite, "path": path}
            answer = requests.get(f"{base}/api/2.0/mlflow/artifacts/list", params=asked, timeout=60)
            return {entry["path"] for entry in answer.json().get("files", ())}

        assert listed() >= {"table.md", "table.csv", "suite.lock.toml", "reports", "figures"}
        assert listed("reports") == {"reports/index.html"}
        asked = {"run_uuid": suite, "path": "reports/index.html"}
        fetched = requests.get(f"{base}/get-artifact", params=asked, timeout=60)
        assert fetched.content == next(moved.glob("mlartifacts/*/*/artifacts/reports/index.html")).read_bytes()
    assert not (tmp_path / "results").exists()
