"""fusionbench publish: a complete, audited run, copied to results/published/ with what made it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

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

    The folder is replaced whole or not at all. The caller has just written tables and frames from the cells.

    Raises:
        ResultsError: the audit found a breach, or a file would exceed 5 MB.
    """
    breaches = [line for line in audit.lines if line.verdict == "BREACH"]
    if breaches:
        raise ResultsError(f"{plan.suite.name}: the audit found a breach: {breaches[0].rule}: {breaches[0].seen}")
    target = store.root / "published" / plan.suite.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".tmp-") as made:
        for name in FILES:
            _copy(store.folder / name, Path(made) / name)
        origin = tomli_w.dumps(_origin(plan, store, command))
        (Path(made) / "run.toml").write_text(origin, encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        shutil.copytree(made, target)
    return target


def _copy(source: Path, target: Path) -> None:
    if source.name == PREDICTIONS:
        _write_compact(source, target)
    else:
        shutil.copyfile(source, target)
    size = target.stat().st_size
    if size > LARGEST:
        raise ResultsError(f"{source}: {size / 2**20:.1f} MB would be published; 5 MB are the most")


def _write_compact(source: Path, target: Path) -> None:
    """Risks as they are; S to four decimals, and under the pattern `full` only.

    Tables and comparisons rest on risks; S takes nine tenths of the space.
    """
    import pandas as pd

    frame = pd.read_parquet(source)
    survival = [name for name in frame.columns if name.startswith("S_")]
    frame[survival] = frame[survival].astype("float32").round(4).where(frame["pattern"] == "full")
    frame.to_parquet(target, index=False, compression="zstd", compression_level=12)


def _origin(plan: Plan, store: Store, command: str) -> dict[str, Any]:
    """Command, cost, and the machines and versions that the cells themselves recorded."""
    records = [store.record(c.key) for c in plan.todo()]
    seconds = sum(sum(r["record"]["seconds"].values()) for r in records)
    environments = [r["record"]["environment"] for r in records if "environment" in r["record"]]
    return {
        "command": command,
        "cells": len(records),
        "failed": sum(r["status"] == "failed" for r in records),
        "compute_minutes": round(seconds / 60, 1),
        "environment": [e for i, e in enumerate(environments) if e not in environments[:i]],
    }
