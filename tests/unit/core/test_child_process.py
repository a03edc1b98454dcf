"""Processes that are started import what the one that starts them would, whatever lies in the working directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fusionbench.core.child_process import SAFE_PATH, safe_import_path
from tests.faults.watching import gone

SCRATCH = ("queue", "random", "token", "types", "signal", "struct", "tempfile", "numpy")
"""Names that a file of one's own may have, and that a module has which a child imports."""
STARTS = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from fusionbench.core.child_process import end_with_parent, safe_import_path

if __name__ == "__main__":
    from fusionbench.execution.executors.subprocess import ChildProcess, pack_call, unpack_reply
    from fusionbench.testing.conformance import other_process

    print("cells:", unpack_reply(ChildProcess().run(pack_call(os.getenv, "PYTHONSAFEPATH"))))
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), end_with_parent)
    with safe_import_path():
        future = pool.submit(len, "four")
    print("pool:", future.result())
    worker = other_process._worker()
    worker.stdin.write("nowhere\\n")
    worker.stdin.flush()
    print("check:", worker.stdout.readline().strip(), flush=True)
    time.sleep(3600)
"""


def test_processes_import_nothing_from_the_working_directory_and_end_with_the_one_that_started_them(
    tmp_path: Path,
) -> None:
    """Those of cells and of `audit --replay`, of pools as `slides` has them, and of `check`."""
    (scratch := tmp_path / "scratch").mkdir()
    for name in SCRATCH:
        (scratch / f"{name}.py").write_text("raise SystemExit('shadowed')\n")
    (tmp_path / "starts.py").write_text(STARTS)
    env = {name: value for name, value in os.environ.items() if name != SAFE_PATH}
    command = [sys.executable, str(tmp_path / "starts.py")]
    with (
        (tmp_path / "err").open("w+") as err,
        subprocess.Popen(command, cwd=scratch, env=env, stdout=subprocess.PIPE, stderr=err, text=True) as process,
    ):
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(3)]
        started = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        process.kill()
    assert said == ["cells: None", "pool: 4", "check: answered"], (tmp_path / "err").read_text()
    assert len(started) >= 6, "three processes, and one each that watches over it"
    assert gone(started)


@pytest.mark.parametrize("before", [None, "1"])
def test_the_variable_is_afterwards_what_it_was(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    """What a plugin starts by itself looks for modules where it always does."""
    monkeypatch.delenv(SAFE_PATH, raising=False)
    if before:
        monkeypatch.setenv(SAFE_PATH, before)
    with safe_import_path():
        assert os.environ[SAFE_PATH] == "1"
    assert os.environ.get(SAFE_PATH) == before
