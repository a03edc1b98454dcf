"""fusionbench publish: a complete, audited run, copied to results/published/ with what made it."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w

from fusionbench.core.commands import command
from fusionbench.core.errors import ResultsError, refused_file
from fusionbench.core.plural import plural
from fusionbench.report.build import (
    EXTERNAL,
    finished_records,
    frames_of,
    lock_of,
    metric_versions,
    write_report,
    write_tables,
)
from fusionbench.report.findings.summary import SUMMARY
from fusionbench.report.model import RISK
from fusionbench.results.audit_verdict import Audit
from fusionbench.results.cell_files import is_probability
from fusionbench.results.frames import BINARIES, EXTERNAL_FILES, PLACE, TEXTS, has_external, read_frames
from fusionbench.results.made_from import note_made_from, stored_contents
from fusionbench.results.manifest import write_manifest
from fusionbench.results.replace_folder import put_back, replace_folder
from fusionbench.results.run_lock import hold
from fusionbench.results.store import Store, sync_folder
from fusionbench.suites.cell import Plan
from fusionbench.suites.lock import LOCK, is_older, lock_text, read_lock, run_command
from fusionbench.survival.stats import tied_ranks
from fusionbench.tools.audit import audit_results
from fusionbench.tools.find_suite import find_suite
from fusionbench.tools.planning import plan_as_run

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from numpy.typing import NDArray

    from fusionbench.execution.shared import SharedResources

LARGEST = 5 * 2**20
TEN, NINE = 34, 30
"""Binary digits that ten and nine decimal ones need."""
TABLES = tuple(f"table.{suffix}" for suffix in ("md", "csv", "tex", "html"))
RESULTS = (*(f"{name}.csv" for name in TEXTS), *(f"{name}.parquet" for name in BINARIES))
PREDICTIONS = "predictions.parquet"
EXTERNAL_RESULTS = (*EXTERNAL_FILES, f"table.{EXTERNAL}")
FILES = (*TABLES, f"table.{SUMMARY}", *RESULTS, "suite.lock.toml", "audit.json", "report.html")


def publish_suite(name: str, out: Path, resources: SharedResources) -> Path:
    """Write the tables from the cells, audit them, and copy what a reader needs to <out>/published/<suite>/.

    Returns:
        the folder.

    Raises:
        ResultsError: not complete, a breach, too large, or another process runs or publishes the suite.
    """
    plan, store = plan_as_run(name, out, resources)
    if is_older(then := read_lock(store.folder)):
        version, again = then.get("results_version"), command(out, "run", store.suite)
        raise ResultsError(f"{name}: results of RESULTS_VERSION {version}; compute them once more with: {again}")
    with hold(store.folder):
        return _publish(name, out, plan, store, resources)


def _publish(name: str, out: Path, plan: Plan, store: Store, resources: SharedResources) -> Path:
    registry, versions = resources.registry, metric_versions(resources.registry)
    contents = stored_contents(store)
    missing = [c for c in plan.todo() if store.finished(c, versions) is None]
    lock = lock_of(plan, resources, finished_records(plan, store))
    if missing or write_tables(frames_of(plan, store, resources), store, lock, registry, "table") is None:
        left = f"{len(missing)} of {len(plan.todo())} cells are missing"
        raise ResultsError(f"{name}: {left}; finish it with: {command(out, 'run', store.suite)}")
    store.write_text(LOCK, lock_text(lock))
    verdict = audit_results(plan, store, resources)
    note_made_from(store, store.write_text("audit.json", verdict.to_json()).name, contents)
    lock, suite = read_lock(store.folder), find_suite(name, out, registry).load_or_stored()
    report = write_report(read_frames(store.folder), store, lock, registry, verdict, suite)
    note_made_from(store, report.name, contents)
    return copy_published(plan, store, verdict, run_command(lock, suite, out))


def copy_published(plan: Plan, store: Store, audit: Audit, made_by: str) -> Path:
    """Copy what a reader needs to <out>/published/<suite>/; predictions in a small form (`compact`).

    The folder is replaced whole or not at all, wherever this is stopped; what an earlier stop left is removed. The
    tables, frames and report were just written from the cells.

    Raises:
        ResultsError: cells failed, the audit found a breach, a file would exceed 5 MB, or the system refuses a file.
    """
    failed = [record for record in (store.record(cell.key) for cell in plan.todo()) if record["status"] == "failed"]
    if failed:
        seen = f"{len(failed)} of {plural(len(plan.todo()), 'cell')} failed, the first with: {failed[0]['reason']}"
        again = command(store.root, "run", plan.suite.name, "--retry", "failed")
        raise ResultsError(f"{plan.suite.name}: {seen}; go on with: {again}")
    breaches = [line for line in audit.lines if line.verdict == "BREACH"]
    if breaches:
        raise ResultsError(f"{plan.suite.name}: the audit found a breach: {breaches[0].rule}: {breaches[0].seen}")
    shown = store.root / "published" / plan.suite.name
    target = shown.resolve()  # a link stays, and what it leads to is replaced
    made = target.with_name(f".tmp-{os.getpid()}-{target.name}")
    try:
        if target.exists() and not target.is_dir():
            raise ResultsError(f"{target}: a file lies where the published folder goes; move it away")
        target.parent.mkdir(parents=True, exist_ok=True)
        put_back(target)
        for left in _interrupted(target):
            shutil.rmtree(left)
        made.mkdir()
        for name in (*FILES, *(EXTERNAL_RESULTS if has_external(store.folder) else ())):
            _copy(store.folder / name, made / name)
        origin = tomli_w.dumps(_origin(plan, store, made_by) | {"survival_curves": _has_curves(made)})
        (made / "run.toml").write_text(origin, encoding="utf-8")
        write_manifest(made)
        sync_folder(made)
        replace_folder(made, target)
    except OSError as error:
        why = refused_file(error) or str(error)
        raise ResultsError(f"{shown}: not published; what was there stays: {why}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return shown


def _interrupted(target: Path) -> list[Path]:
    """Folders that a publish of the same suite left when it was killed; whoever holds the suite's lock is alone."""
    unfinished = re.compile(rf"\.tmp-\d+-{re.escape(target.name)}")
    return [path for path in target.parent.iterdir() if unfinished.fullmatch(path.name)]


def _copy(source: Path, target: Path) -> None:
    if source.name == PREDICTIONS:
        _write_compact(source, target)
    elif source.name.endswith(PREDICTIONS):
        # Ensembles are means of risks, which ranks would not give: the risks stay, and of S three decimals.
        _write_external(source, target)
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


def _write_external(source: Path, target: Path) -> None:
    """What was predicted of external cohorts; where it would be too large, without curves, then with nine digits."""
    import pandas as pd

    frame = pd.read_parquet(source)
    survival = _curves(frame.columns)
    frame = frame.assign(**{name: frame[name].astype("float32").round(3) for name in survival})
    plain = frame.drop(columns=survival)
    said = [name for name in plain.columns if name == RISK or is_probability(name)]
    # Not in single precision, which would tie cases whose risks hardly differ.
    rounded = plain.assign(**{name: _rounded(plain[name].to_numpy(), NINE) for name in said})
    for smaller in (frame, plain, rounded):
        # Numbers compress better byte by byte, texts by a dictionary.
        numbers = [name for name in smaller.columns if name in (*said, *survival)]
        texts = [name for name in smaller.columns if name not in numbers]
        how: dict[str, Any] = {"use_byte_stream_split": numbers, "use_dictionary": texts, "compression_level": 12}
        smaller.to_parquet(target, index=False, compression="zstd", **how)
        if target.stat().st_size <= LARGEST:
            return


def _curves(columns: Iterable[str]) -> list[str]:
    return [name for name in columns if name.startswith("S_")]


def compact(frame: pd.DataFrame) -> pd.DataFrame:
    """Predictions in a tenth of the space, from which concordance follows unchanged.

    Under the pattern `full`, risks stay as they are, and S is kept to three decimals in the first repeat. Under the
    others, where masks and draws make many rows, a risk becomes its rank (1 = lowest) among the test cases of its fold,
    pattern and draw, and S is left out; probabilities of classes keep ten digits, and all where ten would tie cases.
    """
    full = frame["pattern"] == "full"
    survival = _curves(frame.columns)
    within = frame.groupby([*PLACE, "pattern", "draw"], observed=True, sort=False)
    small = frame.copy()
    if "risk" in frame.columns:
        small["risk"] = frame["risk"].where(full, within["risk"].transform(_ranked))
    for name in filter(is_probability, frame.columns):
        rounded = frame[name].where(full, _rounded(frame[name].to_numpy(), TEN))
        tied = within[name].transform("nunique") != rounded.groupby(within.ngroup()).transform("nunique")
        small[name] = rounded.where(~tied, frame[name])
    small[survival] = frame[survival].astype("float32").round(3).where(full & (frame["repeat"] == 0))
    return small


def _has_curves(folder: Path) -> bool:
    import pyarrow.parquet as pq

    return bool(_curves(pq.read_schema(folder / PREDICTIONS).names))


def _rounded(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    """The values rounded to so many binary digits: the zeros behind these take hardly any space in a file."""
    kept = np.int64(1) << (52 - digits)
    return ((values.view(np.int64) + kept // 2) & -kept).view(np.float64)


def _ranked(risk: pd.Series[float]) -> NDArray[np.float64]:
    return tied_ranks(risk.to_numpy())


def _origin(plan: Plan, store: Store, made_by: str) -> dict[str, Any]:
    """Command, cost, and the commits, machines and versions that the cells themselves recorded."""
    records = [store.record(c.key) for c in plan.todo()]
    seconds = sum(sum(r["record"]["seconds"].values()) for r in records)
    environments = [r["record"]["environment"] for r in records if "environment" in r["record"]]
    commits = Counter(str(r["record"].get("git_commit", "not recorded")) for r in records)
    return {
        "command": made_by,
        "cells": len(records),
        "failed": sum(r["status"] == "failed" for r in records),
        "compute_minutes": round(seconds / 60, 1),
        "commits": dict(sorted(commits.items())),
        "environment": [e for i, e in enumerate(environments) if e not in environments[:i]],
    }
