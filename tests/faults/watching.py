"""Runs of `fusionbench` in processes of their own with the plugin of faults, and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from fusionbench.core.seeds import derive
from tests.conftest import EXAMPLE
from tests.forking import Forked, usual_signals

PLUGIN = EXAMPLE.parent / "faults"
NO_NAP = {"FAULTS_NO_NAP": "1"}
"""Environment of runs that nobody disturbs: fits take no time."""
REASONS = {
    "raise": "ValueError: this model fails on purpose",
    "kill": "killed: SIGKILL; 2 attempts",
    "crash": "crashed: SIGSEGV; 2 attempts",
    "memory": "MemoryError: Unable to allocate 32.0 MiB",
    "hang": " (--timeout); 2 attempts",
}
"""Part of what is recorded of each fault, with one retry; an error of the model's own making is not tried again."""
ATTEMPTS = {"raise": 1, "kill": 2, "crash": 2, "memory": 2, "hang": 2, "": 1}


@dataclass
class Running:
    """`fusionbench ARGS` in a folder; `warm`: forked with everything imported but Ray, else a Python of its own."""

    args: tuple[str, ...]
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    warm: bool = False
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        inherited = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
        env = {**inherited, "PYTHONPATH": str(PLUGIN), "NO_COLOR": "1", **self.env}
        self.log: IO[str] = (self.folder / "log.txt").open("a+")
        self._from = self.log.tell()
        self.process: subprocess.Popen[str] | Forked
        if self.warm:
            log = self.folder / "log.txt"
            self.process = Forked(self.args, self.folder, env, log, log)
            return
        # -P, as the script `fusionbench` has it: no module from the working directory
        command = [sys.executable, "-P", "-c", "from fusionbench.cli import main; main()", *self.args]
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=env,
            stdout=self.log,
            stderr=self.log,
            text=True,
            preexec_fn=usual_signals,  # else those that the tests were started with
        )

    def end(self, timeout: float = 600) -> int:
        """Its exit status."""
        status = self.process.wait(timeout)
        self.log.close()
        return status

    def wait_for(self, words: str, timeout: float = 120) -> None:
        """Until it has said that, or has ended; what earlier runs have said in the same folder does not count."""
        until = time.monotonic() + timeout
        while words not in self.said() and self.process.poll() is None:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.args} has not said {words!r}")
            time.sleep(0.05)

    def said(self) -> str:
        """What it has printed so far."""
        return (self.folder / "log.txt").read_bytes()[self._from :].decode()

    def kill(self) -> list[int]:
        """SIGKILL to the driver alone; gives the processes that it had started and that are to end with it.

        Ray's own two agents are not among them: they look every minute or so whether they are still needed.
        """
        everyone = psutil.Process(self.process.pid).children(recursive=True)
        started = []
        for process in everyone:
            with suppress(psutil.NoSuchProcess):  # it has ended meanwhile (a zombie counts)
                if "Agent" not in " ".join(process.cmdline()):
                    started.append(process.pid)
        os.kill(self.process.pid, signal.SIGKILL)
        self.end()
        return started


def gone(pids: Iterable[int], within: float = 20) -> bool:
    """Whether the processes have ended, or end soon."""
    until, pids = time.monotonic() + within, list(pids)
    while any(_runs(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def _runs(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def records(suite: Path) -> dict[str, dict[str, Any]]:
    """Every stored cell's cell.json, by key."""
    return {p.parent.name: json.loads(p.read_text()) for p in suite.glob("cells/[!.]*/cell.json")}


def seed_of(record: dict[str, Any]) -> int:
    """The seed that the model of a cell was fitted with."""
    cell = record["record"]["cell"]
    return derive(cell["seed"], "fit", *(cell[k] for k in ("dataset", "model", "modalities", "repeat", "fold")))


def begun(log: Path) -> Counter[int]:
    """How often the model of each seed began to fit."""
    return Counter(int(line.split()[0]) for line in log.read_text().splitlines())


def same_results(a: Path, b: Path) -> list[str]:
    """Files of two runs of a suite that differ; those with times and attempts aside."""
    names = ("table.csv", "table.md", "folds.csv", "predictions.parquet", "suite.lock.toml")
    return [name for name in names if (a / name).read_bytes() != (b / name).read_bytes()]
