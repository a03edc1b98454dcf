"""Run the calibration and write its figures.

python -m tests.calibration --out results/published/calibration/calibration.md
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from fusionbench.core import environment
from tests.calibration.experiments import EXPERIMENTS
from tests.calibration.figures import Figure, Report
from tests.calibration.scale import QUICK, Scale


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if a figure misses its range."""
    options = _parser().parse_args(arguments)
    started, scale = time.perf_counter(), QUICK if options.quick else Scale()
    figures: list[Figure] = []
    for name in options.only or EXPERIMENTS:
        figures += EXPERIMENTS[name](scale, options.jobs)
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    about = {
        "command": " ".join(["python -m tests.calibration", *(sys.argv[1:] if arguments is None else arguments)]),
        "scale": asdict(scale),
        "seconds": round(time.perf_counter() - started),
        "cpu_seconds": round(sum(os.times()[:4])),
        "packages": environment.packages(),
        "machine": environment.machine(),
    }
    report = Report(about, tuple(figures))
    print(report.as_markdown())
    if options.out is not None:
        _write(report, options.out)
    return int(any(figure.verdict == "MISS" for figure in figures))


def _write(report: Report, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text(report.as_markdown(), encoding="utf-8")
    out.with_suffix(".json").write_text(report.as_json(), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.calibration", description="Calibrate the statistics.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the replicates and fewer draws: a minute")
    parser.add_argument("--only", nargs="*", choices=EXPERIMENTS, metavar="PART", help="these parts alone")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes, one thread each")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write FILE.md and FILE.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())
