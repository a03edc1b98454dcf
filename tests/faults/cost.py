"""What 400 trivial cells cost with `serial`: processor seconds, seconds by the clock, and memory as it grows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.faults.watching import PLUGIN

MOST_SECONDS, MOST_GROWTH = 25.0, 50.0
SCRIPT = """
import resource, sys, time
from pathlib import Path
import psutil
from fusionbench.tools.reporter import SilentReporter
from fusionbench.session import Session

class Memory(SilentReporter):
    n = 0
    def finished(self, cell, result):
        self.n += 1
        if self.n in (20, 400):
            print(f"rss {self.n} {psutil.Process().memory_info().rss / 2**20:.1f}", flush=True)

began, busy = time.perf_counter(), time.process_time()
report = Session(out=Path(sys.argv[1])).run("trivial-400", track=sys.argv[2] == "on", reporter=Memory())
print(f"seconds {time.perf_counter() - began:.1f} {time.process_time() - busy:.1f} {report.ran}")
"""


def measured(folder: Path, tracking: str) -> dict[str, list[float]]:
    """Words to numbers: `rss 20`, `rss 400` in MiB; `seconds`: clock, processor, cells."""
    folder.mkdir(parents=True)
    env = {**os.environ, "PYTHONPATH": str(PLUGIN), "OMP_NUM_THREADS": "1"}
    env.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-c", SCRIPT, str(folder / "results"), tracking]
    done = subprocess.run(command, env=env, cwd=folder, text=True, capture_output=True, check=True)
    found: dict[str, list[float]] = {}
    for line in done.stdout.splitlines():
        word, *numbers = line.split()
        if word == "rss":
            found[f"rss {numbers[0]}"] = [float(numbers[1])]
        elif word == "seconds":
            found[word] = [float(n) for n in numbers]
    return found


def cost(folder: Path) -> tuple[list[str], bool]:
    lines = [
        "| tracking | seconds by the clock | processor seconds | MiB after 20 cells | after 400 | growth |",
        "|---|---|---|---|---|---|",
    ]
    fine = True
    for tracking in ("off", "on"):
        found = measured(folder / tracking, tracking)
        clock, cpu, cells = found["seconds"]
        early, late = found["rss 20"][0], found["rss 400"][0]
        grown = late - early
        lines.append(f"| {tracking} | {clock:.1f} | {cpu:.1f} | {early:.0f} | {late:.0f} | {grown:+.1f} |")
        fine &= cells == 400 and grown <= MOST_GROWTH
        fine &= tracking == "on" or cpu <= MOST_SECONDS
    lines += [
        "",
        f"400 cells of a model that fits in no time, planning and tables included. At most {MOST_SECONDS:.0f} "
        f"processor seconds without tracking, {MOST_GROWTH:.0f} MiB of growth. Load of the machine while this was "
        f"measured: {os.getloadavg()[0]:.1f}.",
    ]
    return lines, fine


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        print("\n".join(cost(Path(name) / "cost")[0]))
