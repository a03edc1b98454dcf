"""Stored cells predicted again from their weights, in a fresh process and with renamed case ids.

Weights of another fold, predictions that were edited together with their scores, and models that look an outcome up by
a case's id do not give the stored risks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from fusionbench.core.executor import LostTask
from fusionbench.core.seeds import derive
from fusionbench.core.types import CaseSet, Member
from fusionbench.data.masks import Mask
from fusionbench.execution import evaluate
from fusionbench.execution.executors.subprocess import ChildProcess, pack_call, unpack_reply
from fusionbench.execution.fit_context import restore_fit
from fusionbench.execution.run_cell import fold_data
from fusionbench.execution.shared import SharedResources
from fusionbench.execution.task import installed
from fusionbench.results.audit_verdict import Finding, Line, verdict
from fusionbench.results.store import Store
from fusionbench.suites.cell import ORACLE, Cell, Plan, present_modalities, test_masks

TOLERANCE = 1e-4
"""How far a risk may lie from the stored one, relative to the larger of 1 and the stored risk: weights are stored in
the model's precision, and other processors add in another order."""


def replay(plan: Plan, store: Store, resources: SharedResources, n: int) -> Line:
    """Predict `n` finished cells again; which ones depends on the plan's keys alone.

    Args:
        n: cells; all of them where there are fewer.
    """
    cells = [c for c in plan.todo() if c.model.name != ORACLE and store.has(c.key)]
    cells = [c for c in cells if store.record(c.key)["status"] == "ok"]
    seed = derive(plan.suite.seed, "replay", *sorted(c.key for c in cells))
    order = np.random.default_rng(seed).permutation(len(cells))
    chosen = [cells[i] for i in sorted(order[:n])]
    work = partial(_replayed, root=store.root, suite=store.suite, home=resources.home)
    with closing(ChildProcess()) as child:  # nothing of this process: no cache, no patched function
        found = [(cell, child.run(pack_call(work, cell))) for cell in chosen]
    findings = [Finding(f"{cell.label}: {what}") for cell, reply in found if (what := _outcome(reply))]
    return verdict("stored weights give the stored predictions again", findings, f"{len(chosen)} cells")


def _outcome(reply: bytes | LostTask) -> str:
    """What the fresh process found; a model that ends it has not given its predictions again either."""
    found: str = reply.reason if isinstance(reply, LostTask) else unpack_reply(reply)
    return found


def _replayed(cell: Cell, root: Path, suite: str, home: Path) -> str:
    """In the fresh process: how a cell's predictions differ from the stored ones; empty where they do not."""
    try:
        return difference(cell, Store(root, suite), SharedResources(installed(), home))
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises is what was found
        return f"cannot be predicted again: {type(error).__name__}: {error}"


def difference(cell: Cell, store: Store, resources: SharedResources) -> str:
    """How the predictions of a cell's restored model differ from the stored ones; empty where they do not."""
    cohort, result = resources.cohort_of(cell), store.load(cell.key)
    member = Member(cell.chosen, cell.modalities)
    fit = restore_fit(result, cohort, resources.registry, resources.device, store.load, member)
    test = fold_data(cell, cohort, resources).test
    names = dict(zip(test.ids, _other_ids(cell, test.ids), strict=True))
    present = present_modalities(test.cases, cell.modalities)
    masks = test_masks(cell, cohort.cases).items()
    predictions = evaluate.predict_patterns(
        fit.predictor,
        renamed(test, names),
        {pattern: [_renamed_mask(mask, names) for mask in draws] for pattern, draws in masks},
        fit.prior,
        {names[case]: modalities for case, modalities in present.items()},
        f"model {cell.model}",
    )
    stored = {(p.pattern, p.draw): p.prediction for p in result.predictions if p.split == "test"}
    for made in predictions:
        before = stored.get((made.pattern, made.draw))
        if before is None or len(before.ids) != len(made.prediction.ids):
            return f"no stored prediction under {made.pattern}, draw {made.draw}"
        gap = np.abs(made.prediction.risk - before.risk) / np.maximum(1.0, np.abs(before.risk))
        if not (gap <= TOLERANCE).all():
            worst = int(np.argmax(gap))
            risks = f"{made.prediction.risk[worst]:.6g}, stored is {before.risk[worst]:.6g}"
            return f"under {made.pattern} the risk of {before.ids[worst]!r} is {risks}"
    return ""


def _other_ids(cell: Cell, ids: Sequence[str]) -> list[str]:
    """As many new ids, in an order that says nothing of the old ones."""
    order = np.random.default_rng(derive(cell.seed, "renamed", cell.key)).permutation(len(ids))
    return [f"case-{i:05d}" for i in order]


def renamed(cases: CaseSet, names: Mapping[str, str]) -> CaseSet:
    """The same cases under other ids and groups."""
    others = tuple(replace(case, id=names[case.id], group=names[case.id]) for case in cases.cases)
    return replace(cases, cases=others, hidden={names[i]: hidden for i, hidden in cases.hidden.items() if i in names})


def _renamed_mask(mask: Mask, names: Mapping[str, str]) -> Mask:
    permuted = {m: {names[to]: names[of] for to, of in pairs.items()} for m, pairs in mask.permuted.items()}
    return replace(mask, hidden={names[case]: hidden for case, hidden in mask.hidden.items()}, permuted=permuted)
