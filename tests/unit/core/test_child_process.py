"""Processes that are started import what the one that starts them would, whatever lies in the working directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusionbench.core.child_process import SAFE_PATH, safe_import_path

SCRATCH = ("queue", "random", "token", "types", "signal", "struct", "tempfile", "numpy")
"""Names that a file of one's own may have, and that a module has which a child imports."""
STARTS = """
import multiprocessing, os
from contextlib import closing
from concurrent.futures import ProcessPoolExecutor
from fusionbench.core.child_process import end_with_parent, safe_import_path

if __name__ == "__main__":
    from fusionbench.execution.executors.subprocess import ChildProcess, pack_call, unpack_reply
    from fusionbench.testing.conformance import other_process

    with closing(ChildProcess()) as child:
        print("cells:", unpack_reply(child.run(pack_call(os.getenv, "PYTHONSAFEPATH"))))
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), end_with_parent)
    with safe_import_path():
        future = pool.submit(len, "four")
    print("pool:", future.result())
    pool.shutdown()
    worker = other_process._worker()
    worker.stdin.write("nowhere\\n")
    worker.stdin.flush()
    print("check:", worker.stdout.readline().strip())
"""


def test_files_in_the_working_directory_do_not_stand_for_modules(tmp_path: Path) -> None:
    (scratch := tmp_path / "scratch").mkdir()
    for name in SCRATCH:
        (scratch / f"{name}.py").write_text("raise SystemExit('shadowed')\n")
    (tmp_path / "starts.py").write_text(STARTS)
    env = {name: value for name, value in os.environ.items() if name != SAFE_PATH}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "starts.py")], cwd=scratch, env=env, capture_output=True, text=True, check=False
    )
    assert "shadowed" not in done.stderr
    assert done.stdout.splitlines() == ["cells: None", "pool: 4", "check: answered"], done.stderr


@pytest.mark.parametrize("before", [None, "1"])
def test_the_variable_is_afterwards_what_it_was(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    """What a plugin starts by itself looks for modules where it always does."""
    monkeypatch.delenv(SAFE_PATH, raising=False)
    if before:
        monkeypatch.setenv(SAFE_PATH, before)
    with safe_import_path():
        assert os.environ[SAFE_PATH] == "1"
    assert os.environ.get(SAFE_PATH) == before
