"""Cells on a local Ray and on a cluster: the same numbers, every fault a reason, and machines that go away."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from tests.conftest import EXAMPLE
from tests.e2e.test_tune import SEARCH, write_mine
from tests.e2e.test_tune import record as searched
from tests.faults.watching import NO_NAP, PLUGIN, REASONS, Running, begun, gone, records, same_results, seed_of

pytest.importorskip("ray", reason='needs the extra ray: pip install "fusionbench[ray]"')
pytestmark = pytest.mark.slow

NOTEBOOK = """
import os, sys
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
from fusionbench.cli import main
from fusionbench.execution.executors.cluster import OBJECT_STORE

ray.init(num_cpus=2, include_dashboard=False, object_store_memory=OBJECT_STORE, log_to_driver=False)
for line in sys.argv[1:]:
    sys.argv = ["fusionbench", *line.split()]
    try:
        main()
        status = 0
    except SystemExit as ended:
        status = ended.code
    print(f"{line}: exit {status}", flush=True)
"""
TUNE = f"tune mine.toml {' '.join(SEARCH)} --threads 1"
RUNS = {
    "run faults-each --no-track -j 2 --timeout 20s": 1,
    **{f"run {suite} --no-track -j 2 --threads 1": 0 for suite in ("faults-few", "example-tiny")},
    # With the same threads: sums of several threads may round otherwise.
    **{f"run {suite} --no-track --out serial --threads 1": 0 for suite in ("faults-few", "example-tiny")},
    f"{TUNE} --to alone": 0,
    f"{TUNE} --to beside -j 2": 0,
}
"""What is asked of `fusionbench`, and its exit status."""


def log(folder: Path) -> str:
    return (folder / "log.txt").read_text()


@pytest.fixture(scope="module")
def each(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several runs on a Ray that was there before, as from a notebook: its two workers import everything once."""
    folder = tmp_path_factory.mktemp("each")
    write_mine(folder)
    path = os.pathsep.join([str(PLUGIN), str(EXAMPLE)])
    env = {**os.environ, "PYTHONPATH": path, "FAULTS_LOG": str(folder / "fits.txt"), "NO_COLOR": "1"}
    with (folder / "log.txt").open("w") as said:
        command = [sys.executable, "-c", NOTEBOOK, *RUNS]
        subprocess.run(command, env=env, cwd=folder, stdout=said, stderr=said, timeout=400, check=True)
    assert [f"{line}: exit {status}" in log(folder) for line, status in RUNS.items()] == [True] * len(RUNS), log(folder)
    return folder


def by_model(folder: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for record in records(folder / "results/faults-each").values():
        found.setdefault(record["record"]["cell"]["model"], []).append(record)
    return found


@pytest.mark.parametrize("fault", ["raise", "kill", "crash", "memory", "hang"])
def test_every_fault_has_its_reason(each: Path, fault: str) -> None:
    failed = by_model(each)[f"faulty[fault={fault}]"]
    assert [r["status"] for r in failed] == ["failed"] * 2
    assert all(REASONS[fault] in r["reason"] for r in failed), [r["reason"] for r in failed]
    fits = begun(each / "fits.txt")
    assert [fits[seed_of(r)] for r in failed] == [1 if fault == "raise" else 2] * 2


def test_what_passes_is_computed_at_the_second_attempt(each: Path) -> None:
    passed = by_model(each)["faulty[fault=disk,first=true]"]
    assert [r["status"] for r in passed] == ["ok"] * 2
    assert all("OSError" in r["record"]["attempts"][0] for r in passed)


def test_the_sound_cells_finish_and_nothing_is_left(each: Path) -> None:
    assert [r["status"] for r in by_model(each)["faulty"]] == ["ok"] * 2
    assert len(records(each / "results/faults-each")) == 14
    assert not list((each / "results/faults-each/attempts").iterdir())
    assert "it is tried again after the others" in log(each)
    assert "Traceback" not in log(each)


@pytest.mark.parametrize("suite", ["faults-few", "example-tiny"])
def test_the_same_bits_as_in_one_process(each: Path, suite: str) -> None:
    """Members come first and reach the workers."""
    assert same_results(each / "serial" / suite, each / "results" / suite) == []


def test_searches_side_by_side_find_what_one_after_the_other_does(each: Path) -> None:
    """Searches run beside each other, never the trials of one."""
    alone, beside = (searched(each / out)["study"] for out in ("alone", "beside"))
    assert len(alone) == 2
    assert alone == beside


def test_a_driver_that_is_killed_leaves_no_process_and_blames_no_cell(tmp_path: Path) -> None:
    """On a Ray of its own, of which nothing is printed: neither its greetings nor the words of its workers."""
    args = ("run", "faults-slow", "--no-track", "--retries", "0")
    driver = Running((*args, "-j", "2"), tmp_path, warm=True)
    driver.wait_for("[2/")
    started = driver.kill()
    assert len(started) > 4
    assert gone(started)
    stored = records(tmp_path / "results/faults-slow")
    assert stored
    words = r"\b(ray|raylet|gcs|worker|token)\b"
    assert not [line for line in log(tmp_path).splitlines() if re.search(words, line, re.I)]
    assert Running(args, tmp_path, NO_NAP, warm=True).end() == 0, "the cells in hand were in processes of their own"
    after = records(tmp_path / "results/faults-slow")
    assert len(after) > len(stored)
    assert all(r["status"] == "ok" for r in after.values())


def test_a_driver_that_is_told_to_end_takes_its_cells_along(tmp_path: Path) -> None:
    """Cells that answer nothing: compiled code keeps the interpreter's lock. Files beside them have modules' names."""
    for name in ("queue", "random", "types", "token"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('shadowed')")
    fits = tmp_path / "fits.txt"
    driver = Running(("run", "faults-lock", "--no-track", "-j", "2"), tmp_path, {"FAULTS_LOG": str(fits)})
    until = time.monotonic() + 120
    while (not fits.exists() or len(begun(fits)) < 2) and time.monotonic() < until:
        time.sleep(0.1)
    cells = len(begun(fits)) if fits.exists() else 0
    started = [process.pid for process in psutil.Process(driver.process.pid).children(recursive=True)]
    os.kill(driver.process.pid, signal.SIGTERM)
    assert driver.end() == 143
    assert cells == 2
    assert log(tmp_path).endswith(
        "interrupted: finished cells are kept; the same command goes on where this one stopped\n"
    )
    assert gone(started)
    assert not list((tmp_path / "results/faults-lock/attempts").iterdir()), "no cell is to blame"


@pytest.mark.parametrize(("process", "number"), [("gcs_server", signal.SIGTERM), ("raylet", signal.SIGHUP)])
def test_a_driver_that_is_told_to_end_while_ray_starts(tmp_path: Path, process: str, number: signal.Signals) -> None:
    """As soon as a process of Ray's is there, which is long before the first cell."""
    driver = Running(("run", "faults-few", "--no-track", "-j", "2"), tmp_path, warm=True)
    started: dict[int, str] = {}
    until = time.monotonic() + 120
    while process not in started.values() and time.monotonic() < until:
        for child in psutil.Process(driver.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                started[child.pid] = child.name()
        time.sleep(0.01)
    os.kill(driver.process.pid, number)
    assert driver.end() == 128 + number
    assert log(tmp_path).endswith(
        "interrupted: finished cells are kept; the same command goes on where this one stopped\n"
    )
    assert gone(started)
    assert not list(tmp_path.glob("results/faults-few/attempts/*"))


CLUSTER = """
import os
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from ray.cluster_utils import Cluster
from fusionbench.core.errors import SuiteError
from fusionbench.execution.executors.cluster import cluster as joined
from fusionbench.core.executor import ResourceRequest

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
second = cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print("address:", cluster.address, flush=True)
try:
    with joined(ResourceRequest(threads=2, address=cluster.address)):
        print("joined", flush=True)
except SuiteError as error:
    print("too many threads:", error, flush=True)
input()
cluster.remove_node(second, allow_graceful=False)
print("removed", flush=True)
input()
cluster.shutdown()
"""
"""A cluster of two nodes, one of which is killed after the first line of input; the second line ends the other."""


def line_of(output: IO[str], *starts: str) -> str:
    """The next line that starts with one of these."""
    return next(line for line in output if line.startswith(starts))


def test_two_machines_of_which_one_goes_away(tmp_path: Path) -> None:
    """Ray's own cluster of two nodes; one is killed in the middle of the suite."""
    env = {**os.environ, "PYTHONPATH": str(PLUGIN)}
    command = [sys.executable, "-c", CLUSTER]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as cluster:
        assert cluster.stdin
        assert cluster.stdout
        address = line_of(cluster.stdout, "address: ").split()[1]
        driver = Running(("run", "faults-slow", "--no-track", "--address", address), tmp_path, warm=True)
        refusal = line_of(cluster.stdout, "joined", "too many threads: ")
        driver.wait_for("[2/")
        print(file=cluster.stdin, flush=True)
        line_of(cluster.stdout, "removed")
        finished = len(records(tmp_path / "results/faults-slow"))
        assert driver.end(300) == 0, log(tmp_path)
        print(file=cluster.stdin, flush=True)
    stored = records(tmp_path / "results/faults-slow")
    assert all(r["status"] == "ok" for r in stored.values())
    assert len(stored) > finished
    assert "too many threads: --threads 2: a cell cannot have that, the largest of 2 machines has 1 CPU" in refusal


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--gpus-per-cell", "99"), "--gpus-per-cell 99: a cell cannot have that, this machine has"),
        (("--threads", "9999", "-j", "2"), "--threads 9999: a cell cannot have that"),
        (("--address", "127.0.0.1:9"), "--address 127.0.0.1:9: no Ray cluster answers there"),
        (("--address", "ray://127.0.0.1:9"), "no Ray cluster answers there"),
        (("--address", "nowhere"), "write HOST:PORT, ray://HOST:PORT or auto"),
    ],
)
def test_what_cannot_be_had_is_an_error_at_once(tmp_path: Path, args: tuple[str, ...], words: str) -> None:
    assert Running(("run", "faults-few", "--no-track", *args), tmp_path, warm=True).end(100) == 2
    errors = [line for line in log(tmp_path).splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert words in errors[0]
    assert not records(tmp_path / "results/faults-few")
