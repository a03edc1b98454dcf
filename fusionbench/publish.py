"""fusionbench publish: a complete, audited run, copied to results/published/ with what made it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from fusionbench import environment
from fusionbench.errors import ResultsError
from fusionbench.report.frames import BINARIES, TEXTS
from fusionbench.store import Store

if TYPE_CHECKING:
    from fusionbench.audit import Audit
    from fusionbench.cells import Plan

LARGEST = 5 * 2**20
TABLES = tuple(f"table.{suffix}" for suffix in ("md", "csv", "tex", "html"))
RESULTS = (*(f"{name}.csv" for name in TEXTS), *(f"{name}.parquet" for name in BINARIES))
PREDICTIONS = "predictions.parquet"
FILES = (*TABLES, *RESULTS, "suite.lock.toml", "audit.json")


def publish(plan: Plan, store: Store, audit: Audit, command: str) -> Path:
    """Copy what a reader needs to <out>/published/<suite>/; survival curves only of the pattern `full`.

    Raises:
        ResultsError: the suite is not complete, the audit found a breach, or predictions exceed 5 MB.
    """
    missing = [c for c in plan.todo() if not store.has(c.key)]
    if missing:
        raise ResultsError(
            f"{plan.suite.name}: {len(missing)} of {len(plan.todo())} cells are missing; "
            f"finish it first with: fusionbench run {plan.suite.name}"
        )
    breaches = [line for line in audit.lines if line.verdict == "BREACH"]
    if breaches:
        raise ResultsError(f"{plan.suite.name}: the audit found a breach: {breaches[0].rule}: {breaches[0].seen}")
    target = store.root / "published" / plan.suite.name
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        source = store.folder / name
        if not source.is_file():
            raise ResultsError(f"{source} is missing; write it with: fusionbench run {plan.suite.name}")
        if name == PREDICTIONS:
            _write_compact(source, target / name)
        else:
            shutil.copyfile(source, target / name)
        size = (target / name).stat().st_size
        if size > LARGEST:
            (target / name).unlink()
            raise ResultsError(f"{source}: {size / 2**20:.1f} MB would be published; 5 MB are the most")
    (target / "run.toml").write_text(tomli_w.dumps(_origin(plan, store, command)), encoding="utf-8")
    return target


def _write_compact(source: Path, target: Path) -> None:
    """Risks as they are; S in single precision, and under the pattern `full` only.

    Tables and comparisons rest on risks; S takes nine tenths of the space.
    """
    import pandas as pd

    frame = pd.read_parquet(source)
    survival = [name for name in frame.columns if name.startswith("S_")]
    frame[survival] = frame[survival].astype("float32").where(frame["pattern"] == "full")
    frame.to_parquet(target, index=False, compression="zstd")


def _origin(plan: Plan, store: Store, command: str) -> dict[str, Any]:
    """Command, machine and cost of what is published."""
    records = [store.record(c.key) for c in plan.todo()]
    seconds = sum(sum(r["record"]["seconds"].values()) for r in records)
    return {
        "command": command,
        "machine": environment.machine(),
        "packages": environment.packages(),
        "cells": len(records),
        "failed": sum(r["status"] == "failed" for r in records),
        "compute_minutes": round(seconds / 60, 1),
    }
