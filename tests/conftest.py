"""Shared by all tests: the stranger's package on the path, and the command line as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent / "third_party" / "example"

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run `fusionbench ARGS` in a folder of its own, with the stranger's package installed beside the built-ins."""

    def call(*args: str, env: dict[str, str] | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return run_cli(args, tmp_path, env, timeout)

    return call


def run_cli(
    args: Sequence[str], cwd: Path, env: dict[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    merged = {**os.environ, "PYTHONPATH": str(EXAMPLE), "COLUMNS": "200", "NO_COLOR": "1", **(env or {})}
    merged.pop("MLFLOW_TRACKING_URI", None) if env is None or "MLFLOW_TRACKING_URI" not in env else None
    command = [sys.executable, "-c", "from fusionbench.cli import main; main()", *args]
    return subprocess.run(command, cwd=cwd, env=merged, text=True, capture_output=True, timeout=timeout, check=False)
