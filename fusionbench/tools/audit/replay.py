"""Stored cells predicted again from their weights with renamed case ids, or trained again, in a fresh process.

Weights of another fold, predictions that were edited together with their scores, and models that look an outcome up by
a case's id do not give the stored risks again. Whoever edited the weights, too, is found by training again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fusionbench.core import environment
from fusionbench.core.cell_result import CellResult, PatternPrediction
from fusionbench.core.executor import LostTask
from fusionbench.core.plural import plural
from fusionbench.core.seeds import derive
from fusionbench.core.types import CaseSet, Member
from fusionbench.data.masks import Mask
from fusionbench.execution import evaluate
from fusionbench.execution.executors.subprocess import ChildProcess, pack_call, unpack_reply
from fusionbench.execution.fit_context import restore_fit
from fusionbench.execution.run_cell import fold_data, run_cell
from fusionbench.execution.shared import SharedResources
from fusionbench.execution.task import installed
from fusionbench.results.audit_verdict import Finding, Line, verdict
from fusionbench.results.store import Store
from fusionbench.suites.cell import ORACLE, Cell, Plan, present_modalities, test_masks

TOLERANCE = 1e-4
"""How far a risk may lie from the stored one, relative to the larger of 1 and the stored risk: weights are stored in
the model's precision, and other processors add in another order."""


def replay(plan: Plan, store: Store, resources: SharedResources, n: int, *, refit: bool = False) -> Line:
    """Predict `n` finished cells again; which ones depends on the plan's keys alone.

    Args:
        n: cells; all of them where there are fewer.
        refit: train them again instead of restoring their weights; with other versions or on another machine than they
            were trained with, a difference is declared.
    """
    cells = [c for c in plan.fitted() if c.model.name != ORACLE and store.has(c.key)]
    cells = [c for c in cells if store.record(c.key)["status"] == "ok"]
    seed = derive(plan.suite.seed, "replay", *sorted(c.key for c in cells))
    order = np.random.default_rng(seed).permutation(len(cells))
    chosen = [cells[i] for i in sorted(order[:n])]
    work = _Replay(store.root, store.suite, resources.home, refit)
    with closing(ChildProcess()) as child:  # nothing of this process: no cache, no patched function
        replies = [(cell, child.run(pack_call(work, cell))) for cell in chosen]
    findings = [finding for cell, reply in replies if (finding := _outcome(cell, reply)) is not None]
    rule = (
        "training again gives the stored predictions" if refit else "stored weights give the stored predictions again"
    )
    return verdict(rule, findings, plural(len(chosen), "cell"))


def _outcome(cell: Cell, reply: bytes | LostTask) -> Finding | None:
    """What the fresh process found; a model that ends it has not given its predictions again either."""
    if isinstance(reply, LostTask):
        return Finding(f"{cell.label}: {reply.reason}")
    found: Finding | None = unpack_reply(reply)
    return found


@dataclass(frozen=True)
class _Replay:
    """How a cell is computed again in the fresh process."""

    root: Path
    suite: str
    home: Path
    refit: bool

    def __call__(self, cell: Cell) -> Finding | None:
        """How a cell's predictions differ from the stored ones; None where they do not."""
        store, declared = Store(self.root, self.suite), ""
        try:
            if self.refit:
                stored = store.record(cell.key)["record"]["environment"]
                resources = SharedResources(
                    installed(),
                    self.home,
                    threads=stored["threads"],
                    deterministic=stored["deterministic"],
                    stored_states=False,  # what is on disk may have been edited as well
                )
                here = environment.describe(str(resources.device), stored["threads"])
                declared = "" if here.items() <= stored.items() else "other versions or another machine"
                what = refit_difference(cell, store, resources)
            else:
                what = difference(cell, store, SharedResources(installed(), self.home))
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is what was found
            what = f"cannot be computed again: {type(error).__name__}: {error}"
        return Finding(f"{cell.label}: {what}", declared) if what else None


def refit_difference(cell: Cell, store: Store, resources: SharedResources) -> str:
    """How the predictions of a cell that is trained again differ from the stored ones; empty where they do not."""
    made = run_cell(cell, resources, store.load)
    if made.status != "ok":
        return f"cannot be trained again: {made.reason}"
    return _differing([p for p in made.predictions if p.split == "test"], store.load(cell.key, weights=False))


def difference(cell: Cell, store: Store, resources: SharedResources) -> str:
    """How the predictions of a cell's restored model differ from the stored ones; empty where they do not."""
    cohort, result = resources.cohort_of(cell), store.load(cell.key)
    member = Member(cell.chosen, cell.modalities)
    fit = restore_fit(result, cohort, resources.registry, resources.device, store.load, member)
    test = fold_data(cell, cohort, resources).test
    names = dict(zip(test.ids, _other_ids(cell, test.ids), strict=True))
    present = present_modalities(test.cases, cell.modalities)
    masks = test_masks(cell, cohort.cases).items()
    shown, who = renamed(test, names), f"model {cell.model}"
    of_renamed = {names[case]: modalities for case, modalities in present.items()}
    predictions = evaluate.predict_patterns(
        fit.predictor,
        shown,
        {pattern: [_renamed_mask(mask, names) for mask in draws] for pattern, draws in masks},
        fit.prior,
        of_renamed,
        who,
    )
    predictions += evaluate.predict_steps(fit.predictor, shown, fit.prior, of_renamed, who)
    return _differing(predictions, result)


def _differing(predictions: Sequence[PatternPrediction], result: CellResult) -> str:
    """The first risk that is not the stored one; cases are in the stored order, perhaps under other ids."""
    stored = {(p.pattern, p.draw): p.prediction for p in result.predictions if p.split == "test"}
    for made in predictions:
        before = stored.get((made.pattern, made.draw))
        if before is None or len(before.ids) != len(made.prediction.ids):
            return f"no stored prediction under {made.pattern}, draw {made.draw}"
        now, then = made.prediction.scores, before.scores
        gap = np.abs(now - then) / np.maximum(1.0, np.abs(then))
        if not (gap <= TOLERANCE).all():
            worst, column = np.unravel_index(int(np.argmax(gap)), gap.shape)
            scores = f"{now[worst, column]:.6g}, stored is {then[worst, column]:.6g}"
            what = f"probability of {before.classes[-now.shape[1] :][column]!r}" if before.classes else "risk"
            return f"under {made.pattern} the {what} of {before.ids[worst]!r} is {scores}"
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
