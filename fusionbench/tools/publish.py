"""fusionbench publish: a complete, audited run, copied to results/published/ with what made it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from fusionbench.core.commands import command
from fusionbench.core.errors import ResultsError
from fusionbench.report.build import (
    frames_of,
    lock_of,
    metric_versions,
    write_report,
    write_tables,
)
from fusionbench.results.audit_verdict import Audit
from fusionbench.results.frames import BINARIES, PLACE, TEXTS, read_frames
from fusionbench.results.manifest import write_manifest
from fusionbench.results.store import Store
from fusionbench.suites.cell import Plan
from fusionbench.suites.lock import LOCK, is_older, lock_text, read_lock, run_command
from fusionbench.suites.suite import load_suite
from fusionbench.survival.stats import tied_ranks
from fusionbench.tools.audit import audit_results
from fusionbench.tools.planning import plan_as_run

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from fusionbench.execution.shared import SharedResources

LARGEST = 5 * 2**20
TABLES = tuple(f"table.{suffix}" for suffix in ("md", "csv", "tex", "html"))
RESULTS = (*(f"{name}.csv" for name in TEXTS), *(f"{name}.parquet" for name in BINARIES))
PREDICTIONS = "predictions.parquet"
FILES = (*TABLES, *RESULTS, "suite.lock.toml", "audit.json", "report.html")


def publish_suite(name: str, out: Path, resources: SharedResources) -> Path:
    """Write the tables from the cells, audit them, and copy what a reader needs to <out>/published/<suite>/.

    Returns:
        the folder.

    Raises:
        ResultsError: not complete, a breach, or too large.
    """
    plan, store = plan_as_run(name, out, resources)
    if is_older(then := read_lock(store.folder)):
        version, again = then.get("results_version"), command(out, "run", name)
        raise ResultsError(f"{name}: results of RESULTS_VERSION {version}; compute them once more with: {again}")
    registry, versions = resources.registry, metric_versions(resources.registry)
    missing = [c for c in plan.todo() if store.finished(c, versions) is None]
    lock = lock_of(plan, resources)
    if missing or write_tables(frames_of(plan, store, resources), store, lock, registry, "table") is None:
        left = f"{len(missing)} of {len(plan.todo())} cells are missing"
        raise ResultsError(f"{name}: {left}; finish it with: {command(out, 'run', name)}")
    store.write_text(LOCK, lock_text(lock))
    verdict = audit_results(plan, store, resources)
    store.write_text("audit.json", verdict.to_json())
    lock, suite = read_lock(store.folder), load_suite(registry, name)
    write_report(read_frames(store.folder), store, lock, registry, verdict, suite)
    return copy_published(plan, store, verdict, run_command(lock, suite))


def copy_published(plan: Plan, store: Store, audit: Audit, made_by: str) -> Path:
    """Copy what a reader needs to <out>/published/<suite>/; predictions in a small form (`compact`).

    The folder is replaced whole or not at all. The tables, frames and report were just written from the cells.

    Raises:
        ResultsError: cells failed, the audit found a breach, or a file would exceed 5 MB.
    """
    failed = [record for record in (store.record(cell.key) for cell in plan.todo()) if record["status"] == "failed"]
    if failed:
        seen = f"{len(failed)} of {len(plan.todo())} cells failed, the first with: {failed[0]['reason']}"
        again = command(store.root, "run", plan.suite.name, "--retry", "failed")
        raise ResultsError(f"{plan.suite.name}: {seen}; go on with: {again}")
    breaches = [line for line in audit.lines if line.verdict == "BREACH"]
    if breaches:
        raise ResultsError(f"{plan.suite.name}: the audit found a breach: {breaches[0].rule}: {breaches[0].seen}")
    target = store.root / "published" / plan.suite.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".tmp-") as made:
        for name in FILES:
            _copy(store.folder / name, Path(made) / name)
        origin = tomli_w.dumps(_origin(plan, store, made_by) | {"survival_curves": _has_curves(Path(made))})
        (Path(made) / "run.toml").write_text(origin, encoding="utf-8")
        write_manifest(Path(made))
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
    """In the small form; without survival curves where they would make it too large."""
    import pandas as pd

    small = compact(pd.read_parquet(source))
    small.to_parquet(target, index=False, compression="zstd", compression_level=12)
    if target.stat().st_size > LARGEST:
        small = small.drop(columns=_curves(small.columns))
        small.to_parquet(target, index=False, compression="zstd", compression_level=12)


def _curves(columns: Iterable[str]) -> list[str]:
    return [name for name in columns if name.startswith("S_")]


def compact(frame: pd.DataFrame) -> pd.DataFrame:
    """Predictions in a tenth of the space, from which concordance follows unchanged.

    Under the pattern `full`, risks stay as they are, and S is kept to three decimals in the first repeat. Under the
    others, where masks and draws make many rows, a risk becomes its rank (1 = lowest) among the test cases of its fold,
    pattern and draw, and S is left out.
    """
    full = frame["pattern"] == "full"
    survival = _curves(frame.columns)
    within = frame.groupby([*PLACE, "pattern", "draw"], observed=True, sort=False)
    small = frame.copy()
    small["risk"] = frame["risk"].where(full, within["risk"].transform(_ranked))
    small[survival] = frame[survival].astype("float32").round(3).where(full & (frame["repeat"] == 0))
    return small


def _has_curves(folder: Path) -> bool:
    import pyarrow.parquet as pq

    return bool(_curves(pq.read_schema(folder / PREDICTIONS).names))


def _ranked(risk: pd.Series[float]) -> NDArray[np.float64]:
    return tied_ranks(risk.to_numpy())


def _origin(plan: Plan, store: Store, made_by: str) -> dict[str, Any]:
    """Command, cost, and the machines and versions that the cells themselves recorded."""
    records = [store.record(c.key) for c in plan.todo()]
    seconds = sum(sum(r["record"]["seconds"].values()) for r in records)
    environments = [r["record"]["environment"] for r in records if "environment" in r["record"]]
    return {
        "command": made_by,
        "cells": len(records),
        "failed": sum(r["status"] == "failed" for r in records),
        "compute_minutes": round(seconds / 60, 1),
        "environment": [e for i, e in enumerate(environments) if e not in environments[:i]],
    }
