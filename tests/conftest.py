"""Shared by all tests: the stranger's package on the path, and the command line as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.forking import Forked

# Tests run side by side, one process a core: more threads than cores would only wait for each other. Set before torch
# is imported, and inherited by every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Made files are read once or twice; tests/unit/data/test_feature_cache.py turns the cache on, in folders of its own.
os.environ.setdefault("FUSIONBENCH_BAG_CACHE", "off")

FROM_THE_START = {"PYTHONHASHSEED"}
"""Variables that Python reads when it starts."""
EXAMPLE = Path(__file__).parent / "third_party" / "example"


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Cli = Callable[..., Outcome]


def pytest_configure() -> None:
    """No deadline for an example: how long it takes depends on what runs beside it; tests/speed/ measures time."""
    from hypothesis import settings  # not above: processes that import this file start pytest themselves

    settings.register_profile("tests", deadline=None)
    settings.load_profile("tests")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`fusionbench ARGS` in a folder of its own, with the third-party package installed beside the built-ins.

    In this process, since importing torch a hundred times would cost minutes; `run_cli` starts a real one.
    """
    from fusionbench import cli as command_line

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def call(*args: str, env: dict[str, str] | None = None) -> Outcome:
        with monkeypatch.context() as patched:
            for key, value in (env or {}).items():
                patched.setenv(key, value)
            patched.setattr(sys, "argv", ["fusionbench", *args])
            capsys.readouterr()
            try:
                command_line.main()
                status: object = 0
            except SystemExit as ended:
                status = ended.code
        seen = capsys.readouterr()
        return Outcome(int(str(status or 0)), seen.out, seen.err)

    return call


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store without experiments; made once, since mlflow takes seconds for it."""
    from fusionbench.report.mlflow import store_uri
    from fusionbench.report.mlflow.client import Connection

    root = tmp_path_factory.mktemp("store")
    Connection(store_uri(root), "any").call("search_experiments")
    return root / "mlflow.db"


def run_cli(args: Sequence[str], cwd: Path, env: dict[str, str] | None = None, timeout: float = 300) -> Outcome:
    """The same in a process of its own, which has imported everything already."""
    inherited = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    merged = {**inherited, "PYTHONPATH": str(EXAMPLE), "NO_COLOR": "1", **(env or {})}
    if FROM_THE_START & merged.keys() - inherited.keys():
        command = [sys.executable, "-c", "from fusionbench.cli import main; main()", *args]
        ended = subprocess.run(
            command, cwd=cwd, env=merged, text=True, capture_output=True, timeout=timeout, check=False
        )
        return Outcome(ended.returncode, ended.stdout, ended.stderr)
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        status = Forked(args, cwd, merged, out, err).wait(timeout)
        return Outcome(status, *(path.read_text() if path.exists() else "" for path in (out, err)))
