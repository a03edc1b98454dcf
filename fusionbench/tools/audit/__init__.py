"""What a suite's written results prove about its protocol, one line a rule.

pass; DECLARED (a rule that the protocol switches off, counted and quantified); BREACH. A declared deviation is never
called a pass. The plan says what should be there; what is judged is what the cells left on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from fusionbench.core.guard import guarded
from fusionbench.report.build import external_cohorts, lock_of, planned_cohorts
from fusionbench.results.audit_verdict import Audit, Line
from fusionbench.results.store import Store
from fusionbench.suites.cell import Plan
from fusionbench.suites.lock import read_lock
from fusionbench.tools.audit import doubts, external, integrity, rules
from fusionbench.tools.audit.evidence import StoredResult, Written, read_results

if TYPE_CHECKING:
    from fusionbench.data.cohort import Cohort
    from fusionbench.execution.shared import SharedResources

__all__ = ["Audit", "Line", "audit", "audit_results"]


def audit(
    plan: Plan,
    results: Sequence[StoredResult],
    cohorts: Mapping[tuple[str, str], Cohort],
    uninstalled: Mapping[str, str] = MappingProxyType({}),
) -> Audit:
    """Hold every finished cell against the protocol.

    Args:
        results: the plan's finished cells as they were read.
        cohorts: by dataset as written and unit.
        uninstalled: models whose plugin is not installed, to the distribution that brought them; not in the plan.
    """
    cells = [stored.written for stored in results if stored.cell.external is None]
    # One cell may stand in several variants; it is compared within each.
    by_outcome = rules.hidden_by_outcome(cells)
    by_key = {written.cell.key: written for written in cells}
    rows = {(c.row, c.repeat, c.fold): replace(by_key[c.key], cell=c) for c in plan.cells if c.key in by_key}
    everywhere = tuple(rows.values())
    lines = (
        rules.ledgers(cells),
        *([rules.bins(cells, cohorts)] if rules.may_have_bins(cells) else []),
        rules.groups(cells, cohorts),
        rules.tested_once(everywhere),
        rules.kept_weights(cells),
        rules.agree("all models of a fold had its split", everywhere, rules.fold, _split, rules.planned_split),
        rules.agree("all models of a fold had its masks", everywhere, rules.mask_place, _masks, rules.planned_masks),
        rules.agree("all models of a fold lost the same share of modalities", everywhere, rules.mask_place, _hidden),
        *([by_outcome] if by_outcome else []),
        rules.coverage(cells),
        rules.degenerate(cells),
    )
    # Lines of their own only where there is such a network: nothing else depends on the declarations.
    given = (rules.targets_in_training(cells),) if any(written.reads_targets for written in cells) else ()
    prepared = (rules.prepared(cells),) if any(written.prepared for written in cells) else ()
    unaudited = (rules.installed(plan.suite.models, uninstalled),) if uninstalled else ()
    return Audit(plan.suite.name, (*lines, *given, *prepared, *unaudited))


def audit_results(
    plan: Plan,
    store: Store,
    resources: SharedResources,
    uninstalled: Mapping[str, str] = MappingProxyType({}),
    replays: int = 0,
    *,
    refit: bool = False,
    unread: Mapping[str, str] = MappingProxyType({}),
) -> Audit:
    """The protocol's rules, and whether the stored results agree with themselves.

    Args:
        plan: the whole suite, as it was last run, without models that are `uninstalled`.
        replays: so many cells are predicted again from their weights, or with `refit` are trained again.
        unread: external cohorts that cannot be read here, `TRAIN -> TEST` to why; not in the plan.

    Raises:
        ResultsError: a file of a finished cell is missing or damaged.
    """
    cohorts, tested = planned_cohorts(plan, resources), external_cohorts(plan, resources)
    results = read_results(plan, store)
    protocol = audit(plan, results, cohorts, uninstalled)
    registry = resources.registry
    with guarded(f"scoring with {', '.join(plan.suite.metrics)}", registry.note):
        metrics = {name: registry.metric(name)() for name in plan.suite.metrics}
        scores = integrity.scores(results, cohorts | tested, metrics)
    lock = read_lock(store.folder)
    lines = [
        integrity.complete(plan, results, store),
        integrity.files(results, store),
        integrity.records(results),
        scores,
        integrity.settings_kept(results, [*lock.get("changed_settings", ()), *registry.changed_settings]),
        integrity.one_code(results, registry),
        integrity.one_environment(results),
    ]
    if not uninstalled and not unread:
        now = lock_of(plan, resources, [stored.record["record"] for stored in results])
        lines.append(integrity.lock_agrees(lock, now))
        lock = now  # warnings may have been taken out of the stored one
    if plan.external:
        lines.append(external.apart(plan, resources))
    if unread:
        lines.append(external.readable(plan.suite, unread))
    lines += [doubts.leakage(lock), doubts.plausible(results), doubts.computed(store)]
    if added := lock.get("added_models", ()):
        lines.append(doubts.own_rows(plan.suite, added))
    if replays:
        from fusionbench.tools.audit.replay import replay

        lines.append(replay(plan, store, resources, replays, refit=refit))
    return Audit(plan.suite.name, (*protocol.lines, *lines))


def _split(written: Written) -> str:
    return written.split


def _masks(written: Written) -> str:
    return written.masks


def _hidden(written: Written) -> tuple[tuple[str, int, float], ...]:
    return written.hidden
