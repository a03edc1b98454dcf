"""Rules that hold stored results against themselves: an edited file, record, score or lock is found."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fusionbench.core.cell_result import Score
from fusionbench.core.plugin_source import source_of
from fusionbench.core.plural import plural
from fusionbench.execution.cell_record import cell_columns
from fusionbench.results.audit_verdict import Finding, Line, verdict
from fusionbench.results.cell_files import sha256
from fusionbench.results.store import Store
from fusionbench.suites import published_numbers
from fusionbench.suites.cell import Plan, canonical, cell_key, rounded_tau
from fusionbench.suites.external import under_protocol
from fusionbench.suites.lock import is_older
from fusionbench.suites.provenance import COMPUTED, differences
from fusionbench.tools.audit.evidence import StoredResult
from fusionbench.tools.rescore import NEEDS_CURVES, score_stored

if TYPE_CHECKING:
    from fusionbench.core.metric import Metric
    from fusionbench.core.registry import Registry
    from fusionbench.data.cohort import Cohort

SCORE_TOLERANCE = 1e-6
"""How far a recomputed score may lie from the stored one: other processors add in another order."""


def complete(plan: Plan, results: Sequence[StoredResult], store: Store) -> Line:
    """Every planned cell has a result and none failed; an incomplete row is no basis for a comparison."""
    todo, finished = plan.todo(), {stored.cell.key for stored in results}
    failed = [c for c in todo if c.key not in finished and store.has(c.key)]
    missing = [c for c in todo if not store.has(c.key)]
    findings = [Finding(f"{c.label}: failed", "failed") for c in failed]
    findings += [Finding(f"{c.label}: no result", "missing") for c in missing]
    if len(missing) == len(todo):
        findings = [Finding("none of them has a result: the lock, the suite or the data changed since the run")]
    shares = {
        kind: f"{len(of)} ({', '.join(c.label for c in of[:3])}{', ...' if len(of) > 3 else ''})"
        for kind, of in (("failed", failed), ("missing", missing))
    }
    return verdict("every cell of the suite has a result", findings, plural(len(todo), "cell"), shares)


def files(results: Sequence[StoredResult], store: Store) -> Line:
    """Each cell's files have the checksums that its record holds."""
    findings = [
        Finding(f"{stored.cell.label}: {name} is not the file that was written", unit=stored.cell.label)
        for stored in results
        for name, digest in stored.record.get("files", {}).items()
        if sha256(store.cells / stored.cell.key / name) != digest
    ]
    old = sum("files" not in stored.record for stored in results)
    findings += [Finding("stored by an older fusionbench, without checksums", "without checksums")] * old
    shares = {"without checksums": f"{old} cells were stored by an older version, which recorded none"}
    return verdict("the files of each cell are those that were written", findings, plural(len(results), "cell"), shares)


def records(results: Sequence[StoredResult]) -> Line:
    """Each cell's record is that of its key: inputs, row, protocol, recipe and members."""
    findings = [
        Finding(f"{stored.cell.label}: {what}") for stored in results if (what := next(_record_problems(stored), ""))
    ]
    return verdict("the record of each cell belongs to its key", findings, plural(len(results), "cell"))


def _record_problems(stored: StoredResult) -> Iterator[str]:
    cell, about = stored.cell, stored.record["record"]
    if stored.record["key"] != cell.key:
        yield f"its record says key {stored.record['key']}"
    if cell_key(canonical(about.get("ingredients", {}))) != cell.key:
        yield "the recorded inputs have another key"
    expected = {
        "cell": _comparable(cell_columns(cell)),
        "recipe": cell.recipe.model_dump(mode="json"),
        "members": [{"model": str(m.model), "modalities": list(m.modalities), "key": key} for m, key in cell.members],
    }
    recorded = {**about, "cell": _comparable(about.get("cell", {}))}
    for name, value in expected.items():
        if recorded.get(name) != json.loads(json.dumps(value)):
            yield f"the recorded {name} is not the planned one"


def _comparable(columns: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's columns without the names that suites give: a cell of several variants, or of a dataset that was written
    in another way, is stored once, under one of its names.
    """
    named = {"variant": None, "dataset": None}
    return {**columns, **named, "tau": rounded_tau(columns["tau"]) if "tau" in columns else None}


def scores(
    results: Sequence[StoredResult], cohorts: Mapping[tuple[str, str], Cohort], metrics: Mapping[str, Metric]
) -> Line:
    """Each stored score follows from the stored predictions and the cohort's follow-up.

    Args:
        cohorts: by dataset as written, or `TRAIN -> TEST`, and unit.
    """
    findings, recomputed, left_out = [], 0, 0
    for stored in results:
        again = {(s.pattern, s.metric): s for s in _scored(stored, cohorts, metrics)}
        for score in stored.result.scores:
            now = again.get((score.pattern, score.metric))
            if now is None or (now.reason == NEEDS_CURVES and score.reason != now.reason):
                left_out += 1
                continue
            recomputed += 1
            if not same_score(score, now):
                what = f"{score.metric} under {score.pattern} is stored as {score.value:.4f}"
                findings.append(Finding(f"{stored.cell.label}: {what}, the predictions give {now.value:.4f}"))
    counted = plural(recomputed, "score")
    if left_out:
        counted += f" ({left_out} more need curves at a model's own times, which are stored of the pattern full only)"
    return verdict("scores follow from the stored predictions", findings, counted)


def _scored(
    stored: StoredResult, cohorts: Mapping[tuple[str, str], Cohort], metrics: Mapping[str, Metric]
) -> list[Score]:
    cell = stored.cell
    fitted_on, tested = cohorts[str(cell.dataset), cell.unit], cohorts[cell.row[0], cell.unit]
    if cell.external is not None:
        tested = under_protocol(cell, tested)
    return score_stored(cell, stored.result, fitted_on, tested, metrics)


def same_score(stored: Score, now: Score) -> bool:
    """Whether two scores agree: both undefined, or equal within `SCORE_TOLERANCE`, with as many cases."""
    if (stored.n_cases, stored.n_prior) != (now.n_cases, now.n_prior):
        return False
    if math.isnan(stored.value) or math.isnan(now.value):
        return math.isnan(stored.value) and math.isnan(now.value)
    return abs(stored.value - now.value) <= SCORE_TOLERANCE


def one_code(results: Sequence[StoredResult], registry: Registry) -> Line:
    """The cells of a row were computed by one code, that which is installed: plugin, version, source files, commit."""
    rows: dict[tuple[str, ...], list[StoredResult]] = {}
    for stored in results:
        rows.setdefault(stored.cell.row, []).append(stored)
    findings = [
        Finding(f"{' · '.join(row)}: {what}", kind, " · ".join(row))
        for row, cells in rows.items()
        for kind, what in _code_problems(cells, registry)
    ]
    return verdict("the cells of a row were computed by one code", findings, plural(len(rows), "row"))


def _code_problems(cells: Sequence[StoredResult], registry: Registry) -> Iterator[tuple[str, str]]:
    """(kind, what) of a row whose cells' code differs from each other's or the installed one, or was not committed."""
    about, n = [stored.record["record"] for stored in cells], len(cells)
    known = [source for record in about if (source := record.get("source"))]
    sources = {json.dumps(source, sort_keys=True) for source in known}
    if len(sources) > 1:
        names = sorted({f"{source['distribution']} {source['version']}" for source in known})
        yield "mixed code", f"its {n} cells were computed by {len(sources)} states of the code of {', '.join(names)}"
    elif known and known[0] != source_of(registry, "models", cells[0].cell.model.name):
        yield "other code than installed", f"{known[0]['distribution']} {known[0]['version']}, changed since"
    threads = sorted({record.get("environment", {}).get("threads", 1) for record in about})
    if len(threads) > 1:
        yield "mixed threads", f"its {n} cells were computed with {' and '.join(map(str, threads))} threads"
    commits = [str(record.get("git_commit", "")) for record in about]
    if len(set(commits)) > 1:
        yield "mixed commits", f"its {n} cells are of {len(set(commits))} commits of fusionbench"
    if dirty := sum(commit.endswith("-dirty") for commit in commits):
        yield "uncommitted changes", f"{dirty} of {n} cells were computed with uncommitted changes"


def one_environment(results: Sequence[StoredResult]) -> Line:
    """All cells were computed with the same versions of plugins and packages, on one machine."""
    found = list(differences([stored.record["record"] for stored in results]))
    shares = dict(found)
    findings = [Finding(line, what) for what, line in found]
    return verdict(
        "the cells were computed with one set of versions on one machine",
        findings,
        plural(len(results), "cell"),
        shares,
    )


def settings_kept(results: Sequence[StoredResult], outside_cells: Iterable[str]) -> Line:
    """No plugin changed settings of the process; what was changed was put back, so that no other cell depends on it.

    Args:
        outside_cells: what was changed while plugins were imported, the suite was planned or its results were scored.
    """
    findings = [Finding(line, line) for line in dict.fromkeys(outside_cells)]
    findings += [
        Finding(f"{stored.cell.label}: {line}", line, stored.cell.label)
        for stored in results
        for line in stored.record["record"].get("changed_settings", ())
    ]
    return verdict("no plugin changed what other cells are computed with", findings, plural(len(results), "cell"))


def lock_agrees(stored: Mapping[str, Any], now: Mapping[str, Any]) -> Line:
    """The lock is that of the planned cells: version, seed, keys, folds, masks, data and options.

    Args:
        stored: the lock of the results.
        now: the lock that the plan would be given now.
    """
    older = is_older(stored)
    parts = ["suite", "cells", "datasets", "models", "options"]
    parts += ["external"] if "external" in {*stored, *now} else []
    parts += [] if older else ["results_version"]
    skipped = _NO_NUMBER | (_NOT_THEN if older else frozenset())
    plain = json.loads(json.dumps(now))
    differing = [name for name in parts if _compared(stored.get(name), skipped) != _compared(plain.get(name), skipped)]
    why = "differ: the lock was edited, or the suite, its data or a plugin changed since the run; run the suite again"
    findings = [Finding(f"{', '.join(differing)} {why}")] if differing else []
    if "machines" in stored:  # an older fusionbench wrote what was installed, not what the cells say
        findings += _computed(stored, plain)
    if older:
        version = stored.get("results_version")
        findings += [Finding("data, hashed in another way then", f"written under RESULTS_VERSION {version}")]
    return verdict("the lock is that of the planned cells", findings, f"{plural(len(parts), 'part')} of it")


def _computed(stored: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the versions and machines of a lock are those that the cells recorded."""
    named, said = ({leaf for key in COMPUTED[:-1] for leaf in _leaves(key, of[key])} for of in (stored, now))
    if made_up := sorted(named - said):
        yield Finding(f"it names {' '.join(made_up[0])}, which no cell recorded; run the suite again")
    elif said - named:
        stale = "a run was interrupted: the lock does not name yet what computed its last cells; run the suite again"
        yield Finding(stale, "an interrupted run")
    elif stored["differences"] != now["differences"]:
        yield Finding("its differences are not those of the cells; run the suite again")


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """(name, version) of everything in a part of a lock; several versions of one thing are several."""
    if isinstance(value, Mapping):
        for key, of in value.items():
            yield from _leaves(f"{name}.{key}", of)
    else:
        of_name = value if isinstance(value, list) else value.split(", ")
        yield from ((name, str(version)) for version in of_name if version)


_NO_NUMBER = frozenset({"distribution", "distribution_version", "plugin", "notes", "title", *published_numbers.COLUMNS})
_NOT_THEN = frozenset({"identity", "fingerprint", "checksums", "warnings"})  # absent, or hashed in another way


def _compared(part: Any, skipped: Container[str]) -> Any:
    """Without what decides no number: who read the data, titles and notes, published numbers, and the last bits of a
    horizon.
    """
    if isinstance(part, float):
        return rounded_tau(part)
    if not isinstance(part, Mapping):
        return part
    return {name: _compared(value, skipped) for name, value in part.items() if name not in skipped}
