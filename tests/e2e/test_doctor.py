"""`doctor`: what is looked at, what is called a problem, and what of a lock differs here."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli
from tests.e2e.test_bad_input import one_error

ROOT = Path(__file__).parents[2]


def lines(cli: Cli, *args: str, status: int = 0, env: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    result = cli("doctor", "--json", *args, env=env)
    assert result.returncode == status, result.stdout + result.stderr
    return {line["what"]: line for line in json.loads(result.stdout)}


def test_what_is_looked_at(cli: Cli, tmp_path: Path) -> None:
    found = lines(cli)
    wanted = {"fusionbench", "python", "torch", "numpy", "processor", "cuda", "blas", "torch threads", "environment"}
    assert wanted | {"data home", "results root", "sqlite", "mlflow", "plugin example"} <= found.keys()
    assert not list(tmp_path.iterdir()), "the doctor left something behind"
    shown = cli("doctor").stdout.splitlines()
    assert len(shown) == len(json.loads(cli("doctor", "--json").stdout))
    assert all(line.split()[0] in ("ok", "note", "problem") for line in shown)


def test_threads_and_an_empty_data_home(cli: Cli, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    found = lines(cli, env={"OMP_NUM_THREADS": "1", "FUSIONBENCH_DATA": str(home)})
    assert "OMP_NUM_THREADS=1" in found["environment"]["text"]
    assert found["cohort hancock"]["text"] == "not here; fusionbench data fetch hancock"
    assert found["cohort hancock"]["verdict"] == "note"


def test_a_damaged_cohort_is_a_problem(cli: Cli, tmp_path: Path) -> None:
    from fusionbench.core.registry import discover

    dataset = discover().dataset("hancock")
    source = next(s for s in dataset(dataset.Options(), tmp_path).sources() if s.size)
    for other in dataset(dataset.Options(), tmp_path).sources():
        path = tmp_path / other.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if other == source else b"\0" * other.size)
    found = lines(cli, status=1, env={"FUSIONBENCH_DATA": str(tmp_path)})
    assert found["cohort hancock"]["verdict"] == "problem"
    assert source.path in found["cohort hancock"]["text"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a place nobody can write to")
def test_a_results_root_that_cannot_be_written(cli: Cli) -> None:
    found = lines(cli, "--out", "/proc/results", status=1)
    assert found["results root"]["verdict"] == "problem"
    assert "/proc/results cannot be written" in found["results root"]["text"]


def test_a_tracking_server(cli: Cli) -> None:
    down = lines(cli, status=1, env={"MLFLOW_TRACKING_URI": "http://me:s3cret@127.0.0.1:9"})["mlflow"]
    assert down["verdict"] == "problem"
    assert down["text"].startswith("127.0.0.1:9 does not answer (")
    assert "s3cret" not in down["text"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        up = lines(cli, env={"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{server.getsockname()[1]}"})["mlflow"]
    assert up["verdict"] == "ok"


def test_a_suite_against_its_lock(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fusionbench_example.models import LeastSquares

    one_error(cli("doctor", "example-faulty"), "nothing has been run under results")
    one_error(cli("doctor", "quikstart"), "unknown suite 'quikstart'")
    assert cli("run", "example-faulty", "--no-track").returncode == 0
    found = lines(cli, "example-faulty")
    assert {line["verdict"] for line in found.values()} == {"ok"}
    lock = tmp_path / "results/example-faulty/suite.lock.toml"
    numpy = found["numpy"]["text"].split(",")[0]
    lock.write_text(lock.read_text().replace(f'numpy = "{numpy}"', 'numpy = "1.0"'))
    assert lines(cli, "example-faulty")["numpy"]["text"] == f"1.0 in the lock, {numpy} here: last digits may differ"
    monkeypatch.setattr(LeastSquares, "version", "2")
    changed = lines(cli, "example-faulty", status=1)["model example-least-squares"]
    assert changed["verdict"] == "problem"
    assert "1 in the lock, 2 here: its cells are stale" in changed["text"]


def test_other_data_than_in_the_lock_are_a_problem(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'title = "Mine"\ndatasets = ["synthetic[cases=60]"]\nmodels = ["cox"]\nmodalities = [["vector"]]\n'
    )
    assert cli("run", "mine.toml", "--no-track").returncode == 0
    what = "data of synthetic[cases=60] (patient)"
    assert lines(cli, "mine.toml")[what]["text"] == "as in the lock"
    lock = tmp_path / "results/mine/suite.lock.toml"
    known = lock.read_text().split(".fingerprint]\npatient = ")[1].split("\n")[0]
    lock.write_text(lock.read_text().replace(known, '"0"'))
    assert lines(cli, "mine.toml", status=1)[what]["verdict"] == "problem"


def test_a_published_run_tells_its_machine(cli: Cli) -> None:
    result = cli("doctor", "--json", "quickstart", "--out", str(ROOT / "results/published"))
    found = {line["what"]: line for line in json.loads(result.stdout)}
    assert "when it was run" in found["device"]["text"]
    problems = {line["what"] for line in found.values() if line["verdict"] == "problem"}
    assert not problems, "every processor has the cohorts of the lock"
    cohorts = [line for what, line in found.items() if what.startswith("data of")]
    assert {line["text"] for line in cohorts} == {"as in the lock"}
    assert len(cohorts) == 3


@pytest.mark.parametrize("content", ["", "x = ", 'environment = "x"', "environment = []"])
def test_a_damaged_run_file(cli: Cli, tmp_path: Path, content: str) -> None:
    folder = tmp_path / "published/quickstart"
    folder.mkdir(parents=True)
    lock = (ROOT / "results/published/quickstart/suite.lock.toml").read_text()
    (folder / "suite.lock.toml").write_text(lock)
    (folder / "run.toml").write_text(content)
    one_error(cli("doctor", "quickstart", "--out", "published"), "run.toml: cannot be read")
